//! The log that stands elsewhere, and each node's line to it: slow, cut, refused, its answers lost.
//!
//! What is appended is shown to the checker in the same moment, so the order of every partition is known whatever becomes
//! of the answer.

use crate::checker::{PARTITIONS, TOPICS};
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::world::{World, topic};
use dualstream_core::log::{Appended, Bounds, Part, Span};
use dualstream_core::memory::upstream::MemoryUpstream;
use dualstream_core::mirror::{Described, Place, Run, Sought, Tail, Upstream, epoch_of};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// A call over a line that is cut fails after so long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The log that all nodes share.
pub struct SharedLog {
    memory: MemoryUpstream,
    lines: Vec<Arc<State>>,
}

/// How a line behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers come within the plan's delay.
    Fair,
    /// They may take seconds; some of those to appends are lost.
    Slow,
    /// Nothing is answered.
    Cut,
    /// Everything fails at once.
    Refused,
}

const MOODS: [Mood; 4] = [Mood::Fair, Mood::Slow, Mood::Cut, Mood::Refused];

struct State {
    mood: Mutex<Mood>,
    changed: Notify,
}

impl State {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedLog {
    /// A log with both topics, empty, and a line for each of `nodes`.
    pub fn new(clock: Arc<SimClock>, nodes: usize) -> SharedLog {
        let memory = MemoryUpstream::new(clock);
        for index in 0..TOPICS.len() {
            let spec = TopicSpec { partitions: PARTITIONS, ..TopicSpec::events(topic(index)) };
            let created = memory.create(spec).now_or_never();
            created.expect("it waits for nothing").expect("nothing is in its way");
        }
        let line = |_| Arc::new(State { mood: Mutex::new(Mood::Fair), changed: Notify::new() });
        SharedLog { memory, lines: (0..nodes).map(line).collect() }
    }

    /// Where a topic begins and ends.
    pub fn bounds(&self, topic: &TopicName) -> Option<Bounds> {
        let described = Upstream::describe(&self.memory, topic).now_or_never()?.ok()?;
        let Described { id, earliest, latest, .. } = described;
        Some(Bounds { epoch: epoch_of(id, PARTITIONS, 0), earliest, latest })
    }

    /// Its administration.
    pub fn topics(&self) -> Arc<dyn Topics> {
        Arc::new(self.memory.clone())
    }

    /// The line of a node.
    pub fn line(&self, world: &Arc<World>, node: usize, dice: Dice, delay_ms_max: u64) -> Line {
        let (memory, state) = (self.memory.clone(), self.lines[node].clone());
        Line { memory, state, world: Arc::downgrade(world), dice, delay_ms_max }
    }

    /// Another mood of one of the lines, by chance. Which, and whose.
    pub fn change_mood(&self, dice: &Dice) -> (usize, Mood) {
        let (line, mood) = (dice.below(self.lines.len() as u64) as usize, *dice.pick(&MOODS));
        self.set_mood(line, mood);
        (line, mood)
    }

    /// All lines are well from now on.
    pub fn heal(&self) {
        (0..self.lines.len()).for_each(|line| self.set_mood(line, Mood::Fair));
    }

    fn set_mood(&self, line: usize, mood: Mood) {
        *self.lines[line].mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        self.lines[line].changed.notify_waiters();
    }
}

/// One node's way to the log.
#[derive(Clone)]
pub struct Line {
    memory: MemoryUpstream,
    state: Arc<State>,
    world: Weak<World>,
    dice: Dice,
    delay_ms_max: u64,
}

impl Line {
    /// Waits as long as the line takes for one way.
    async fn pass(&self) -> Result<()> {
        let cut = async {
            loop {
                let changed = self.state.changed.notified();
                if self.state.mood() != Mood::Cut {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(ANSWER_MAX, cut).await.is_err() {
            return Err(away());
        }
        let most = match self.state.mood() {
            Mood::Fair | Mood::Cut => self.delay_ms_max,
            Mood::Slow => 3_000,
            Mood::Refused => return Err(away()),
        };
        tokio::time::sleep(Duration::from_millis(self.dice.below(most + 1))).await;
        Ok(())
    }

    /// There, and back again.
    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.pass().await?;
        let answer = work.await;
        self.pass().await?;
        answer
    }

    /// Shows the checker what was stored.
    fn show(&self, parts: &[(TopicName, u32)], stored: &[Vec<Appended>]) {
        let Some(world) = self.world.upgrade() else { return };
        for ((name, partition), stored) in parts.iter().zip(stored) {
            let Some(index) = TOPICS.iter().position(|topic| *topic == name.as_str()) else { continue };
            let offsets = stored.iter().filter_map(|appended| match appended {
                Appended::Stored(offset) => Some(*offset),
                _ => None,
            });
            let Some(from) = offsets.min() else { continue };
            let span = Span { partition: *partition, from, until: u64::MAX };
            let run = self.memory.fetch(name, span, usize::MAX).now_or_never();
            let Some(Ok(run)) = run else { continue };
            let epoch = epoch_of(run.id, PARTITIONS, 0);
            let mut records = run.records.iter();
            world.check(|checker| records.try_for_each(|record| checker.appended(index, epoch, record)));
        }
    }
}

impl Upstream for Line {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        // It arrives in the moment it is sent, or never: a later one of the same source must not overtake it.
        let mood = self.state.mood();
        let arrives = match mood {
            Mood::Fair | Mood::Slow => true,
            Mood::Cut => self.dice.once_in(2),
            Mood::Refused => false,
        };
        let answer = arrives.then(|| {
            let places: Vec<_> = parts.iter().map(|part| (part.topic.clone(), part.partition)).collect();
            let answer = self.memory.append(parts).now_or_never().unwrap_or_else(|| Err(away()));
            if let Ok(stored) = &answer {
                self.show(&places, stored);
            }
            answer
        });
        async move {
            if mood == Mood::Refused {
                return Err(away());
            }
            let passed = self.pass().await;
            match answer.filter(|_| passed.is_ok() && !(mood == Mood::Slow && self.dice.once_in(4))) {
                Some(answer) => answer,
                None => Err(unknown()),
            }
        }
        .boxed()
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        self.call(async move { Upstream::describe(&self.memory, topic).await }).boxed()
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        self.call(async move { self.memory.fetch(topic, span, bytes_max).await }).boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>> {
        self.call(async move { self.memory.seek(topic, time_ms).await }).boxed()
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        Ok(Box::new(LineTail { line: self.clone(), inner: self.memory.tail()?, come: None }))
    }
}

struct LineTail {
    line: Line,
    inner: Box<dyn Tail>,
    /// What is under way.
    come: Option<Vec<Run>>,
}

impl Tail for LineTail {
    fn assign(&mut self, places: Vec<Place>) -> BoxFuture<'_, Result<()>> {
        async move {
            self.come = None;
            self.line.pass().await?;
            self.inner.assign(places).await
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Run>>> {
        async move {
            if self.come.is_none() {
                self.come = Some(self.inner.next().await?);
            }
            self.line.pass().await?;
            Ok(self.come.take().unwrap_or_default())
        }
        .boxed()
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "log_unavailable", "the simulated line is cut")
}

fn unknown() -> Error {
    Error::new(ErrorKind::Unknown, "outcome_unknown", "the simulated line lost the answer")
}
