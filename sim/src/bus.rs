//! A bus with weather: what it is handed may be lost, late, doubled or out of order, and at times nothing passes.
//!
//! Everything it is handed is shown to a witness first: an announcement is a claim that the event is durable.

use crate::dice::Dice;
use crate::history::History;
use dualstream_core::bus::{Bus, Delivery, Health, Message};
use dualstream_core::channel::Target;
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How the bus behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything arrives within milliseconds, in order.
    Fair,
    /// A third is lost.
    Lossy,
    /// Anything may take two seconds, so the order goes.
    Late,
    /// Anything may come twice or thrice.
    Doubled,
    /// All of these.
    Foul,
    /// The publisher cannot reach it; subscribers can.
    Cut,
    /// Nobody can.
    Out,
}

const WEATHERS: [Weather; 7] = [
    Weather::Fair,
    Weather::Lossy,
    Weather::Late,
    Weather::Doubled,
    Weather::Foul,
    Weather::Cut,
    Weather::Out,
];

/// What is shown everything the bus is handed.
type Witness = Box<dyn Fn(&[Message]) + Send + Sync>;

/// A simulated bus. Clones are the same bus.
#[derive(Clone)]
pub struct SimBus(Arc<Inner>);

struct Inner {
    history: History,
    dice: Dice,
    state: Mutex<State>,
    witness: Mutex<Option<Witness>>,
}

struct State {
    weather: Weather,
    subscribers: Vec<(Target, mpsc::UnboundedSender<Delivery>)>,
}

impl SimBus {
    /// A bus in fair weather.
    pub fn new(history: History, dice: Dice) -> SimBus {
        let state = State { weather: Weather::Fair, subscribers: Vec::new() };
        SimBus(Arc::new(Inner { history, dice, state: Mutex::new(state), witness: Mutex::new(None) }))
    }

    /// Shows everything published from now on to `witness`.
    pub fn set_witness(&self, witness: impl Fn(&[Message]) + Send + Sync + 'static) {
        *self.0.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(witness));
    }

    /// Lets go of the witness.
    pub fn clear_witness(&self) {
        *self.0.witness.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Another weather, by chance.
    pub fn change_weather(&self) {
        self.set_weather(*self.0.dice.pick(&WEATHERS));
    }

    /// This weather from now on. A storm breaks connections, or leaves them open and says nothing.
    pub fn set_weather(&self, weather: Weather) {
        self.0.history.note(format!("bus {weather:?}"));
        let mut state = self.0.state();
        let (before, silent) = (std::mem::replace(&mut state.weather, weather), self.0.dice.once_in(2));
        if weather == Weather::Out && !silent {
            state.subscribers.clear();
        }
        if before == Weather::Out {
            state.subscribers.iter().for_each(|(_, to)| drop(to.send(Delivery::Lost(1))));
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: &Message) {
        let mut state = self.state();
        if state.weather == Weather::Out {
            return;
        }
        let gone =
            |to: &mpsc::UnboundedSender<Delivery>| to.send(Delivery::Message(message.clone())).is_err();
        state.subscribers.retain(|(target, to)| !target.matches(message.channel.as_str()) || !gone(to));
    }

    /// How long each copy of a message is under way.
    fn copies(&self, weather: Weather) -> Vec<u64> {
        let dice = &self.dice;
        let delay = |late: bool| if late && dice.once_in(3) { dice.below(2000) } else { dice.below(2) };
        match weather {
            Weather::Fair => vec![0],
            Weather::Lossy if dice.once_in(3) => Vec::new(),
            Weather::Lossy => vec![0],
            Weather::Late => vec![delay(true)],
            Weather::Doubled => (0..dice.between(1, 3)).map(|_| delay(false)).collect(),
            Weather::Foul => (0..dice.below(4)).map(|_| delay(true)).collect(),
            Weather::Cut | Weather::Out => Vec::new(),
        }
    }
}

impl Bus for SimBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        if let Some(witness) = &*self.0.witness.lock().unwrap_or_else(PoisonError::into_inner) {
            witness(&messages);
        }
        let weather = self.0.state().weather;
        if matches!(weather, Weather::Cut | Weather::Out) {
            return 0;
        }
        let count = messages.len();
        for message in messages {
            for delay_ms in self.0.copies(weather) {
                if delay_ms == 0 {
                    self.0.deliver(&message);
                    continue;
                }
                let (bus, message) = (self.clone(), message.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                    bus.0.deliver(&message);
                });
            }
        }
        count
    }

    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        async move {
            tokio::time::sleep(Duration::from_millis(self.0.dice.below(5))).await;
            let mut state = self.0.state();
            if state.weather == Weather::Out {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "bus_unavailable",
                    "the simulated bus is out",
                ));
            }
            let (to, from) = mpsc::unbounded_channel();
            state.subscribers.push((target, to));
            let stream = futures::stream::unfold(from, async |mut from| Some((from.recv().await?, from)));
            Ok(Box::pin(stream) as BoxStream<'static, Delivery>)
        }
        .boxed()
    }

    fn health(&self) -> Health {
        match self.0.state().weather {
            Weather::Out | Weather::Cut => {
                Health::Down { since_ms: 0, reason: "the simulated bus is out".into() }
            }
            _ => Health::Up,
        }
    }
}
