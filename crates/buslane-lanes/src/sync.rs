//! The lock types of this crate: those of `parking_lot`, or those of the model checker in unit
//! tests.
//!
//! A feature cannot select them, because cargo unifies features and the model's locks panic outside
//! of a model. Tests that need real locks are in `tests/`.

#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

#[cfg(test)]
pub(crate) use model::{Mutex, MutexGuard, RwLock};

#[cfg(test)]
mod model {
    //! `shuttle`'s locks behind the interface of `parking_lot`'s.
    pub(crate) use shuttle::sync::MutexGuard;

    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
