//! Futures of many hosts on one thread, in an order that follows from the seed alone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::world::{Event, Shared, lock};

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Ready = Arc<Mutex<VecDeque<usize>>>;

struct TaskWaker {
    index: usize,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().expect("one thread").push_back(self.index);
    }
}

/// The tasks, by the host that they run on; `None` for one that has ended or was ended.
pub struct Executor {
    world: Shared,
    tasks: Vec<(usize, Option<Task>)>,
    ready: Ready,
}

impl Executor {
    pub fn new(world: Shared) -> Self {
        Self { world, tasks: Vec::new(), ready: Ready::default() }
    }

    pub fn spawn(&mut self, host: usize, task: impl Future<Output = ()> + 'static) {
        self.ready.lock().expect("one thread").push_back(self.tasks.len());
        self.tasks.push((host, Some(Box::pin(task))));
    }

    /// Ends all tasks of a host, wherever they are.
    pub fn end_host(&mut self, host: usize) {
        for (_, task) in self.tasks.iter_mut().filter(|(on, _)| *on == host) {
            *task = None;
        }
    }

    /// Runs what is ready; the hosts that pause are woken when they go on.
    pub fn run_ready(&mut self) {
        loop {
            let Some(index) = self.ready.lock().expect("one thread").pop_front() else { return };
            let waker = Waker::from(Arc::new(TaskWaker { index, ready: Arc::clone(&self.ready) }));
            let (host, task) = &mut self.tasks[index];
            let Some(running) = task else { continue };
            {
                let mut world = lock(&self.world);
                let paused_until = world.hosts[*host].paused_until;
                if paused_until > world.now {
                    world.at(paused_until, Event::Wake(waker));
                    continue;
                }
            }
            if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *task = None;
            }
        }
    }
}

/// Waits until a true time.
pub struct Until {
    pub world: Shared,
    pub time: u64,
    pub is_asked: bool,
}

impl Until {
    pub fn new(world: &Shared, delay: u64) -> Self {
        let time = lock(world).now.saturating_add(delay);
        Self { world: Arc::clone(world), time, is_asked: false }
    }
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Arc::clone(&self.world);
        let mut world = lock(&world);
        if world.now >= self.time {
            return Poll::Ready(());
        }
        if !self.is_asked {
            self.is_asked = true;
            world.at(self.time, Event::Wake(context.waker().clone()));
        }
        Poll::Pending
    }
}
