//! `bpf_loop`, which calls a function of the program back.

use bpftime_abi::Errno;

use super::machine::{Arguments, Called};

/// `BPF_FUNC_loop`.
pub(crate) const LOOP: u32 = 181;
/// Rounds of one loop at most (kernel `BPF_MAX_LOOPS`).
pub(crate) const MAX_LOOPS: u32 = 1 << 23;

/// A loop that goes on.
#[derive(Debug)]
struct Running {
    /// First slot of the function.
    entry: u32,
    /// What it is called with besides the number of the round.
    context: Option<u64>,
    /// Rounds that have begun.
    begun: u32,
    rounds: u32,
}

impl Running {
    fn round(&mut self) -> Called {
        let round = u64::from(self.begun);
        self.begun += 1;
        Called::Callback {
            entry: self.entry,
            arguments: [Some(round), self.context, None, None, None],
        }
    }
}

/// The loops that go on, the innermost last; as many as frames at most.
#[derive(Debug, Default)]
pub(crate) struct Loops(Vec<Running>);

impl Loops {
    /// The address of a function, as [`Self::begin`] takes it: no number that is null, since a function that
    /// is called does not begin at slot 0.
    pub(crate) fn address(entry: i64) -> u64 {
        entry as u64
    }

    /// `long bpf_loop(u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags)`.
    pub(crate) fn begin(&mut self, arguments: Arguments) -> Called {
        let [rounds, function, context, flags, _] = arguments.values;
        // The kernel's is an argument of 32 bits.
        let rounds = rounds as u32;
        if flags != 0 {
            return Called::Result(Some(Errno::EINVAL.to_r0()));
        }
        if rounds > MAX_LOOPS {
            return Called::Result(Some(Errno::E2BIG.to_r0()));
        }
        if rounds == 0 {
            return Called::Result(Some(0));
        }
        let mut running = Running {
            entry: function as u32,
            context: arguments.initialised[2].then_some(context),
            begun: 0,
            rounds,
        };
        let first = running.round();
        self.0.push(running);
        first
    }

    /// The innermost loop's function has returned: not 0 ends the loop. Gives the rounds when it ends.
    pub(crate) fn next(&mut self, result: u64) -> Called {
        let Some(running) = self.0.last_mut() else {
            return Called::Result(Some(result));
        };
        if result == 0 && running.begun < running.rounds {
            return running.round();
        }
        let rounds = u64::from(running.begun);
        self.0.pop();
        Called::Result(Some(rounds))
    }
}
