//! The queues of many lanes in one vector: nodes are linked by index, and freed nodes are reused
//! first.
//!
//! A `VecDeque` for each lane would keep its capacity for every key that was ever busy. The memory
//! of a burst is freed by halves, whenever nothing is queued and little of it was used since the
//! last time.

use buslane_core::shrunk_capacity;

/// The index of no node.
pub(crate) const NONE: u32 = u32::MAX;

/// The capacity that shrinking always leaves.
const LEAST: usize = 1_024;

struct Node<T> {
    item: Option<T>,
    next: u32,
}

/// A queue: its first and last node, and its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

impl Queue {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

pub(crate) struct Slab<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    /// The number of items in all queues.
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn push_back(&mut self, queue: &mut Queue, item: T) {
        let node = self.insert(item, NONE);
        if queue.is_empty() {
            queue.head = node;
        } else {
            self.nodes[queue.tail as usize].next = node;
        }
        queue.tail = node;
        queue.len += 1;
    }

    pub(crate) fn push_front(&mut self, queue: &mut Queue, item: T) {
        let node = self.insert(item, queue.head);
        queue.head = node;
        if queue.is_empty() {
            queue.tail = node;
        }
        queue.len += 1;
    }

    pub(crate) fn front(&self, queue: &Queue) -> Option<&T> {
        if queue.is_empty() { None } else { self.nodes[queue.head as usize].item.as_ref() }
    }

    pub(crate) fn pop_front(&mut self, queue: &mut Queue) -> Option<T> {
        if queue.is_empty() {
            return None;
        }
        let node = &mut self.nodes[queue.head as usize];
        let item = node.item.take();
        let after = std::mem::replace(&mut node.next, self.free);
        self.free = std::mem::replace(&mut queue.head, after);
        queue.len -= 1;
        if queue.is_empty() {
            *queue = Queue::EMPTY;
        }
        self.len -= 1;
        if self.len == 0 && self.nodes.capacity() > LEAST {
            self.shrink();
        }
        item
    }

    /// Frees memory while nothing is queued, so that no queue refers to a node.
    #[cold]
    fn shrink(&mut self) {
        let room = LEAST.max(shrunk_capacity(self.nodes.capacity(), self.nodes.len()));
        self.nodes.clear();
        self.nodes.shrink_to(room);
        self.free = NONE;
    }

    /// Removes the items that satisfy `matches`, and keeps the order of the others.
    pub(crate) fn extract(
        &mut self,
        queue: &mut Queue,
        matches: &dyn Fn(&T) -> bool,
        mut each: impl FnMut(T),
    ) {
        for _ in 0..queue.len() {
            let Some(item) = self.pop_front(queue) else { return };
            if matches(&item) {
                each(item);
            } else {
                self.push_back(queue, item);
            }
        }
    }

    fn insert(&mut self, item: T, next: u32) -> u32 {
        self.len += 1;
        if self.free == NONE {
            let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            assert!(index != NONE, "a scheduler holds fewer than 2^32 - 1 messages");
            self.nodes.push(Node { item: Some(item), next });
            return index;
        }
        let index = self.free;
        let node = &mut self.nodes[index as usize];
        self.free = node.next;
        *node = Node { item: Some(item), next };
        index
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, Queue, Slab};

    #[test]
    fn what_a_burst_needed_goes_by_halves_once_nothing_is_queued() {
        let mut slab = Slab::new();
        let (mut one, mut two) = (Queue::EMPTY, Queue::EMPTY);
        for n in 0..20_000_u32 {
            slab.push_back(if n % 2 == 0 { &mut one } else { &mut two }, n);
        }
        let burst = slab.nodes.capacity();
        while slab.pop_front(&mut one).is_some() {}
        assert_eq!(
            (slab.nodes.capacity(), slab.front(&two)),
            (burst, Some(&1)),
            "one queue is left"
        );
        for n in (1..20_000).step_by(2) {
            assert_eq!(slab.pop_front(&mut two), Some(n));
        }
        assert_eq!(slab.nodes.capacity(), burst, "all of it was used");
        for n in 1..8 {
            slab.push_back(&mut one, n);
            assert_eq!(slab.pop_front(&mut one), Some(n));
            assert_eq!(slab.nodes.capacity(), LEAST.max(burst >> n));
        }
        assert_eq!(slab.nodes.capacity(), LEAST);
        slab.push_front(&mut one, 7);
        assert_eq!((slab.pop_front(&mut one), slab.pop_front(&mut one)), (Some(7), None));
    }
}
