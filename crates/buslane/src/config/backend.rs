//! The section of a backend: the settings of its adapter and of both pools.

use super::{ActorPoolConfig, KeyedPoolConfig};
use buslane_settings::{BrokenRule, Setting, Value, join};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer,
    },
};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// The settings of a bus on one backend: those of its adapter and of both pools, in one section of
/// the file.
///
/// It dereferences to the adapter's settings. The sections of backends that the URL does not name
/// are checked and unused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendConfig<S> {
    /// The settings of the adapter.
    pub settings: S,
    /// The keyed-worker pool.
    pub keyed_pool: KeyedPoolConfig,
    /// The actor pool.
    pub actor_pool: ActorPoolConfig,
}

impl<S> Deref for BackendConfig<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.settings
    }
}

impl<S> DerefMut for BackendConfig<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.settings
    }
}

const KEYED: &str = "keyed_pool";
const ACTOR: &str = "actor_pool";

impl<S> Value for BackendConfig<S>
where
    S: Value + Default + Serialize + for<'de> Deserialize<'de>,
{
    buslane_settings::plain_value!();

    fn list(default: Option<&Self>, own: Setting, list: &mut Vec<Setting>) {
        let (first, backend) = (list.len(), own.key.to_uppercase());
        let below = |name| {
            let mut setting = Setting::default();
            setting.key = join(&own.key, name);
            setting
        };
        KeyedPoolConfig::list(default.map(|own| &own.keyed_pool), below(KEYED), list);
        ActorPoolConfig::list(default.map(|own| &own.actor_pool), below(ACTOR), list);
        S::list(default.map(|own| &own.settings), own, list);
        for setting in &mut list[first..] {
            let is_own = |name: &&str| {
                name.starts_with("BUSLANE_") || name.starts_with(&format!("{backend}_"))
            };
            setting.variables.retain(is_own);
        }
    }

    fn validate(&self, key: &str) -> Result<(), BrokenRule> {
        self.settings.validate(key)?;
        self.keyed_pool.validate(&join(key, KEYED))?;
        self.actor_pool.validate(&join(key, ACTOR))
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), BrokenRule> {
        match key.split_once('.') {
            Some((KEYED, below)) => self.keyed_pool.set(below, text),
            Some((ACTOR, below)) => self.actor_pool.set(below, text),
            _ => self.settings.set(key, text),
        }
    }
}

impl<S: Serialize> Serialize for BackendConfig<S> {
    fn serialize<T: Serializer>(&self, target: T) -> Result<T::Ok, T::Error> {
        #[derive(Serialize)]
        struct Section<'a, S> {
            #[serde(flatten)]
            settings: &'a S,
            keyed_pool: &'a KeyedPoolConfig,
            actor_pool: &'a ActorPoolConfig,
        }
        let Self { settings, keyed_pool, actor_pool } = self;
        Section { settings, keyed_pool, actor_pool }.serialize(target)
    }
}

// serde's `flatten` loses the place of each key and accepts unknown ones. So the pools are taken
// out of the section before the adapter's settings read it.
impl<'de, S: Deserialize<'de>> Deserialize<'de> for BackendConfig<S> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_struct("BackendConfig", &[KEYED, ACTOR], Section(PhantomData))
    }
}

struct Section<S>(PhantomData<S>);

impl<'de, S: Deserialize<'de>> Visitor<'de> for Section<S> {
    type Value = BackendConfig<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let (mut keyed_pool, mut actor_pool) = Default::default();
        let rest = Rest { map, keyed_pool: &mut keyed_pool, actor_pool: &mut actor_pool };
        let settings = S::deserialize(MapAccessDeserializer::new(rest))?;
        Ok(BackendConfig { settings, keyed_pool, actor_pool })
    }
}

/// The section without its pools, which are stored on the way.
struct Rest<'a, A> {
    map: A,
    keyed_pool: &'a mut KeyedPoolConfig,
    actor_pool: &'a mut ActorPoolConfig,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        mut seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key_seed(KeySeed(seed))? {
            seed = match key {
                Key::Setting(name) => return Ok(Some(name)),
                Key::KeyedPool(seed) => {
                    *self.keyed_pool = self.map.next_value()?;
                    seed
                }
                Key::ActorPool(seed) => {
                    *self.actor_pool = self.map.next_value()?;
                    seed
                }
            };
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

struct KeySeed<K>(K);

enum Key<K, N> {
    KeyedPool(K),
    ActorPool(K),
    Setting(N),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        match String::deserialize(source)?.as_str() {
            KEYED => Ok(Key::KeyedPool(self.0)),
            ACTOR => Ok(Key::ActorPool(self.0)),
            name => self.0.deserialize(name.into_deserializer()).map(Key::Setting),
        }
    }
}
