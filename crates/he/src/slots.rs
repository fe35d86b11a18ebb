//! Which element of a vector each slot of a ciphertext holds.

/// For each slot, the index of the element it holds. An element may stand in many slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap(Vec<Option<u32>>);

impl SlotMap {
    /// All slots empty.
    pub fn empty(slots: usize) -> Self {
        Self(vec![None; slots])
    }

    /// What `element(slot)` says of each slot.
    pub fn new(slots: usize, element: impl Fn(usize) -> Option<usize>) -> Self {
        Self((0..slots).map(|s| element(s).map(|e| e as u32)).collect())
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The element in a slot, counted around.
    pub fn at(&self, slot: usize) -> Option<usize> {
        self.0[slot % self.0.len()].map(|e| e as usize)
    }

    /// Puts an element into a slot.
    pub fn put(&mut self, slot: usize, element: usize) {
        self.0[slot] = Some(element as u32);
    }

    /// Slots in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.0.iter().map(|e| e.map(|e| e as usize))
    }

    /// The slots' values, zero where they hold nothing.
    pub fn fill(&self, values: &[f64]) -> Vec<f64> {
        self.iter().map(|e| e.map_or(0.0, |e| values[e])).collect()
    }

    /// The slots that hold each of `n` elements.
    pub fn positions(&self, n: usize) -> Vec<Vec<u32>> {
        let mut positions = vec![Vec::new(); n];
        self.iter().enumerate().for_each(|(s, e)| e.into_iter().for_each(|e| positions[e].push(s as u32)));
        positions
    }

    /// The shortest power of two after which the slots repeat.
    pub fn period(&self) -> usize {
        let repeats = |p: usize| (p..self.len()).all(|s| self.0[s] == self.0[s - p]);
        (0..).map(|b| 1 << b).find(|&p| p >= self.len() || repeats(p)).unwrap_or(self.len())
    }
}
