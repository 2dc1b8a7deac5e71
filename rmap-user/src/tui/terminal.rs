//! The terminal: its modes, its keys, its end. The one place of this room that touches it.
//!
//! Comes in: keys of the terminal, updates from another thread. Goes out: pictures. [`leave`] sets the
//! terminal as it was: it is called at the end, in a panic of any thread, and by whoever ends rmap in
//! the middle of something.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{Event, KeyEventKind, poll, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::state::{Ask, State, Update};

/// How long keys are waited for before updates are looked at.
const BEAT: Duration = Duration::from_millis(80);
/// How often the driver has its turn.
const TURN: Duration = Duration::from_secs(1);

/// The terminal has our modes.
static ENTERED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// What runs beside the pictures.
pub trait Driver {
    /// A key asks for something. `false`: the end.
    fn ask(&mut self, state: &mut State, ask: Ask) -> bool;

    /// Once a second.
    fn turn(&mut self, _state: &mut State) {}
}

/// A terminal with our modes, until it is dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

/// Whether stdin and stdout are a terminal.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Screen {
    /// Takes the terminal on stdin and stdout.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn enter() -> io::Result<Self> {
        if !is_there() {
            return Err(io::Error::other("stdin and stdout are not both a terminal"));
        }
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        let entered = execute!(io::stdout(), EnterAlternateScreen);
        let terminal = entered.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        terminal.map(|terminal| Self { terminal }).inspect_err(|_| leave())
    }

    /// Draws, and does what keys ask for, until they ask for the end or the terminal has gone. A sender
    /// that has gone ends nothing.
    ///
    /// # Errors
    /// The terminal's.
    pub fn run(
        &mut self,
        state: &mut State,
        updates: &Receiver<Update>,
        driver: &mut dyn Driver,
    ) -> io::Result<()> {
        let mut due = true;
        let mut turned = Instant::now();
        loop {
            while let Ok(update) = updates.try_recv() {
                state.take(update);
                due = true;
            }
            // A panic of another thread gives the terminal back.
            if state.is_over() || !ENTERED.load(Ordering::SeqCst) {
                return Ok(());
            }
            if due {
                let size = self.terminal.size()?;
                state.resize(size.width, size.height);
                self.terminal.draw(|frame| super::draw(state, frame))?;
                due = false;
            }
            if poll(BEAT)? {
                due = true;
                match read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => {
                        if let Some(ask) = state.press(key)
                            && !driver.ask(state, ask)
                        {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
            if turned.elapsed() >= TURN {
                turned = Instant::now();
                #[cfg(debug_assertions)]
                assert!(std::env::var_os("RMAP_TEST_PANIC").is_none(), "a test asks for a panic");
                driver.turn(state);
                due = true;
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Sets the terminal as it was, if it has our modes.
pub fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // A terminal that has gone needs nothing.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = io::stdout().flush();
        let _ = disable_raw_mode();
    }
}
