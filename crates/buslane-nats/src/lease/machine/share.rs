//! Which partitions a member is to hold, and which it may take.

use super::{Action, Machine, Member, Mine, Place};

impl Machine {
    /// Takes what is lacking, and gives up what is too much.
    pub(super) fn share(&mut self, actions: &mut Vec<Action>) {
        let unwanted: Vec<Place> = self.held(|place| !self.wants.contains_key(&place.0));
        for place in unwanted {
            self.revoke(place, actions);
        }
        for (topic, count) in self.wants.clone() {
            let readers = self.readers(&topic);
            let rank = readers.iter().position(|id| **id == self.me).unwrap_or(0);
            let (each, more) = (count as usize / readers.len(), count as usize % readers.len());
            let quota = each + usize::from(rank < more);
            let held = self.held(|place| place.0 == topic);
            let claiming = self
                .spots
                .iter()
                .filter(|(place, spot)| place.0 == topic && spot.mine == Mine::Claiming)
                .count();
            for place in held.iter().skip(quota).cloned() {
                self.revoke(place, actions);
            }
            let lacking = quota.saturating_sub(held.len() + claiming);
            // Members begin at different ends, so that they are not after the same ones.
            let first = u32::try_from(rank * each).unwrap_or(0);
            let free: Vec<Place> = (0..count)
                .map(|n| (topic.clone(), (first + n) % count))
                .filter(|place| self.is_free(place))
                .take(lacking)
                .collect();
            for place in free {
                let spot = self.spot(&place);
                spot.mine = Mine::Claiming;
                actions.push(Action::Claim(place, spot.revision));
            }
        }
        // What stands for this member and is not read by it: others wait for it.
        let me = Some(self.me.as_str());
        for spot in self
            .spots
            .values_mut()
            .filter(|spot| spot.mine == Mine::No && spot.owner.as_deref() == me)
        {
            spot.mine = Mine::Releasing;
        }
        self.release(actions);
    }

    fn revoke(&mut self, place: Place, actions: &mut Vec<Action>) {
        self.spot(&place).mine = Mine::Draining;
        actions.push(Action::Revoke(place));
    }

    fn held(&self, is_meant: impl Fn(&Place) -> bool) -> Vec<Place> {
        let held =
            self.spots.iter().filter(|(place, spot)| spot.mine == Mine::Held && is_meant(place));
        held.map(|(place, _)| place.clone()).collect()
    }

    /// Members that read the topic and show signs of life, this one included, sorted.
    fn readers(&self, topic: &str) -> Vec<&String> {
        let others = self
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(topic) && self.lives(member));
        let mut readers: Vec<&String> = others.map(|(id, _)| id).collect();
        readers.push(&self.me);
        readers.sort();
        readers
    }

    /// Longer than the member itself thinks, because clocks do not run alike; and as seen, not as
    /// the clock has it.
    fn lives(&self, member: &Member) -> bool {
        self.view.is_none_or(|view| view < member.since + self.length + self.length / 4)
    }

    /// Whether nobody holds the partition who shows signs of life.
    fn is_free(&self, place: &Place) -> bool {
        let Some(spot) = self.spots.get(place) else { return true };
        let is_held = match &spot.owner {
            None => false,
            Some(owner) if *owner == self.me => false,
            Some(owner) => self.members.get(owner).is_some_and(|member| self.lives(member)),
        };
        spot.mine == Mine::No && !is_held
    }
}
