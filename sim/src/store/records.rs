//! The sessions that a store holds: what every store knows of each of them, and when it forgets them.
//!
//! A record outlives the visit whose session it is: users leave without a word, and what they leave behind takes room until it
//! has idled long enough. It also outlives its data: as long as somebody may ask for the session, it tells what became
//! of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Why;
use crate::engine::{SimDuration, SimTime};

/// A record, by its place in the tables of its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordId(pub u32);

impl RecordId {
    /// The place.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What became of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// Why.
    pub why: Why,
    /// When.
    pub at: SimTime,
}

/// One session in the store.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// What its key is made of; the same under every strategy.
    pub name: u64,
    /// When it was first written.
    pub created: SimTime,
    /// When it was last written.
    pub written: SimTime,
    /// When it was last read or written.
    pub used: SimTime,
    /// Idle time after which it is forgotten.
    idle: SimDuration,
    /// Its size \[B\].
    pub bytes: u32,
    /// Writes so far.
    pub version: u32,
    /// How often its place was used.
    incarnation: u32,
    /// Whether somebody may still ask for it.
    held: bool,
    /// Whether the store has data of it.
    pub stored: bool,
    /// What became of the data, if they are gone.
    pub gone: Option<Gone>,
}

impl Record {
    /// When it will have idled too long, unless it is used again.
    pub fn expires(&self) -> SimTime {
        self.used + self.idle
    }
}

/// All records of a store, in places that are used again.
#[derive(Clone, Debug, Default)]
pub struct Records {
    rows: Vec<Record>,
    free: Vec<u32>,
    /// When to look whether a record has idled too long: (when, place, incarnation).
    due: BinaryHeap<Reverse<(SimTime, u32, u32)>>,
    stored: u64,
    bytes: u64,
}

impl Records {
    /// A new record, stored and held.
    pub fn add(&mut self, now: SimTime, name: u64, bytes: u32, idle: SimDuration) -> RecordId {
        let row = Record {
            name,
            created: now,
            written: now,
            used: now,
            idle,
            bytes,
            version: 1,
            incarnation: 0,
            held: true,
            stored: true,
            gone: None,
        };
        let place = match self.free.pop() {
            Some(place) => {
                let incarnation = self.rows[place as usize].incarnation + 1;
                self.rows[place as usize] = Record { incarnation, ..row };
                place
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        };
        self.enter(now, place);
        RecordId(place)
    }

    fn enter(&mut self, now: SimTime, place: u32) {
        let row = &self.rows[place as usize];
        self.stored += 1;
        self.bytes += u64::from(row.bytes);
        self.due.push(Reverse((now + row.idle, place, row.incarnation)));
    }

    /// Data of a record whose data were gone are written again.
    pub fn add_again(&mut self, now: SimTime, id: RecordId) {
        let row = &mut self.rows[id.index()];
        if row.stored {
            return;
        }
        (row.stored, row.gone, row.created) = (true, None, now);
        self.enter(now, id.0);
    }

    /// The record of an id.
    #[inline]
    pub fn get(&self, id: RecordId) -> &Record {
        &self.rows[id.index()]
    }

    /// The record of an id, to change.
    #[inline]
    pub fn get_mut(&mut self, id: RecordId) -> &mut Record {
        &mut self.rows[id.index()]
    }

    /// The store has no data of it any more.
    pub fn drop_data(&mut self, id: RecordId, gone: Option<Gone>) {
        let row = &mut self.rows[id.index()];
        if !row.stored {
            return;
        }
        row.stored = false;
        row.gone = gone;
        self.stored -= 1;
        self.bytes -= u64::from(row.bytes);
        if !row.held {
            self.free.push(id.0);
        }
    }

    /// Nobody will ask for it any more; what is stored stays until it has idled long enough.
    pub fn release(&mut self, id: RecordId) {
        let row = &mut self.rows[id.index()];
        row.held = false;
        if !row.stored {
            self.free.push(id.0);
        }
    }

    /// A record that has idled longer than it may by `now`. To be asked until there is none; the caller then drops its data.
    pub fn next_expired(&mut self, now: SimTime) -> Option<RecordId> {
        while let Some(&Reverse((due, place, incarnation))) = self.due.peek() {
            if due > now {
                return None;
            }
            self.due.pop();
            let row = &self.rows[place as usize];
            if row.incarnation != incarnation || !row.stored {
                continue;
            }
            let expires = row.expires();
            if expires <= now {
                return Some(RecordId(place));
            }
            self.due.push(Reverse((expires, place, incarnation)));
        }
        None
    }

    /// The records that have data.
    pub fn stored(&self) -> impl Iterator<Item = RecordId> + '_ {
        (0..self.rows.len() as u32).map(RecordId).filter(|id| self.rows[id.index()].stored)
    }

    /// Places ever used.
    pub fn places(&self) -> usize {
        self.rows.len()
    }

    /// Number of records that have data.
    pub fn stored_count(&self) -> u64 {
        self.stored
    }

    /// Their size together \[B\].
    pub fn stored_bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: SimDuration = SimDuration::from_secs(10);

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    #[test]
    fn what_users_leave_behind_takes_room_until_it_has_idled_long_enough() {
        let mut records = Records::default();
        let one = records.add(at(0), 1, 100, IDLE);
        records.get_mut(one).used = at(4);
        records.release(one);
        assert_eq!(records.next_expired(at(13)), None);
        assert_eq!((records.stored_count(), records.stored_bytes()), (1, 100));
        assert_eq!(records.next_expired(at(14)), Some(one));
        records.drop_data(one, None);
        assert_eq!((records.stored_count(), records.stored_bytes()), (0, 0));
        assert_eq!(records.add(at(20), 2, 1, IDLE), one, "its place is used again");
    }

    #[test]
    fn a_record_that_is_asked_for_keeps_the_evidence() {
        let mut records = Records::default();
        let one = records.add(at(0), 1, 100, IDLE);
        let gone = Gone { why: Why::Evicted, at: at(3) };
        records.drop_data(one, Some(gone));
        assert_ne!(records.add(at(4), 2, 1, IDLE), one);
        assert_eq!(records.get(one).gone, Some(gone));
        records.add_again(at(5), one);
        assert_eq!((records.get(one).gone, records.get(one).created), (None, at(5)));
    }
}
