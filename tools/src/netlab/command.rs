//! The lab's language: one command a line, on the control's input.
//!
//! Pure. `HOSTS` is a name, names with commas between, or `*` for all that there are.

use super::link::{Queue, Shape};
use super::nat::{Kind, UDP_IDLE_DEFAULT_NS};
use super::units::{self, Share};

/// What can be said; `help` prints it.
pub const HELP: &str = "\
host NAME [lan LAN] [ipv6]         makes a host, alone or in a LAN
set HOSTS [up|down|both] LINK...   changes access links; LINK is one or more of
     delay TIME                    one way: a packet from A to B takes A's up and B's down
     rate RATE|none                64kbit, 100mbit, 1gbit of IP packets
     queue LEN|TIME|default        what waits for the rate before packets are dropped: 625k, 50ms
     loss SHARE                    by chance: 0.5%
nat HOSTS full-cone|cone|symmetric|none [idle TIME]
                                   puts their sites behind NAT: other addresses, no mappings
cut HOSTS HOSTS                    no packet between any of the first and any of the second
heal [HOSTS HOSTS]                 undoes cuts: all, or those
congestion HOSTS NAME              what TCP sockets of the hosts take from now on
hosts                              name, first process, addresses, LAN, NAT, mappings
stats                              packets and bytes of each host, up and down, and what was dropped
flows                              packets and bytes by sender and receiver
exec HOST -- COMMAND...            runs a command; answers 'out ...' a line, then 'exit N'
kill HOST                          kills all processes of a host, as its power would
help
end                                ends the lab, as the end of the input does
";

/// Longest name of a host or LAN; a host's is also its hostname.
const NAME_LEN_MAX: usize = 32;

/// Which links of a host a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the host.
    Up,
    /// To the host.
    Down,
    /// Each of them.
    Both,
}

/// One property of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One way, in nanoseconds.
    Delay(u64),
    /// Bits per second.
    Rate(Option<u64>),
    /// What waits.
    Queue(Queue),
    /// Packets lost.
    Loss(Share),
}

impl Change {
    /// Makes the change.
    pub fn apply(self, shape: &mut Shape) {
        match self {
            Self::Delay(ns) => shape.delay_ns = ns,
            Self::Rate(rate) => shape.rate_bps = rate,
            Self::Queue(queue) => shape.queue = queue,
            Self::Loss(share) => shape.loss = share,
        }
    }
}

/// Hosts by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All that there are.
    All,
    /// These.
    Named(Vec<String>),
}

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a host.
    Host {
        /// Its name.
        name: String,
        /// Its LAN.
        lan: Option<String>,
        /// With IPv6.
        has_v6: bool,
    },
    /// Changes links.
    Set(Hosts, Vec<(Way, Change)>),
    /// Sets NAT: kind and time limit in nanoseconds.
    Nat(Hosts, Option<(Kind, u64)>),
    /// Cuts pairs.
    Cut(Hosts, Hosts),
    /// Heals pairs.
    Heal(Hosts, Hosts),
    /// Sets the congestion control.
    Congestion(Hosts, String),
    /// Lists hosts.
    Hosts,
    /// Lists counters.
    Stats,
    /// Lists bytes by pair.
    Flows,
    /// Runs a command.
    Exec(String, Vec<String>),
    /// Kills processes.
    Kill(String),
    /// Prints the language.
    Help,
    /// Ends the lab.
    End,
    /// An empty line or a comment.
    Nothing,
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &str) -> Result<Command, String> {
    let mut words = Words(line.split_whitespace().map(str::to_owned).collect());
    let Some(first) = words.next() else { return Ok(Command::Nothing) };
    if first.starts_with('#') {
        return Ok(Command::Nothing);
    }
    let command = match first.as_str() {
        "host" => host(&mut words)?,
        "set" => Command::Set(words.hosts()?, changes(&mut words)?),
        "nat" => Command::Nat(words.hosts()?, nat(&mut words)?),
        "cut" => Command::Cut(words.hosts()?, words.hosts()?),
        "heal" if words.0.is_empty() => Command::Heal(Hosts::All, Hosts::All),
        "heal" => Command::Heal(words.hosts()?, words.hosts()?),
        "congestion" => Command::Congestion(words.hosts()?, words.name("congestion control")?),
        "hosts" => Command::Hosts,
        "stats" => Command::Stats,
        "flows" => Command::Flows,
        "exec" => exec(&mut words)?,
        "kill" => Command::Kill(words.name("host")?),
        "help" => Command::Help,
        "end" => Command::End,
        other => return Err(format!("there is no command '{other}' (help lists them)")),
    };
    match words.next() {
        None => Ok(command),
        Some(word) => Err(format!("'{word}' was not expected")),
    }
}

/// Words that are left of a line.
struct Words(std::collections::VecDeque<String>);

impl Words {
    fn next(&mut self) -> Option<String> {
        self.0.pop_front()
    }

    fn value(&mut self, what: &str) -> Result<String, String> {
        self.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn name(&mut self, what: &str) -> Result<String, String> {
        checked_name(self.value(&format!("a {what}'s name"))?)
    }

    fn hosts(&mut self) -> Result<Hosts, String> {
        let text = self.value("a host's name")?;
        if text == "*" {
            return Ok(Hosts::All);
        }
        let names = text.split(',').map(|name| checked_name(name.to_owned()));
        names.collect::<Result<_, _>>().map(Hosts::Named)
    }
}

fn checked_name(name: String) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // Digits alone would be taken for a process by `exec`.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || name.len() > NAME_LEN_MAX || !name.bytes().all(is_fit) {
        return Err(format!("'{name}' is no name: a letter, then letters, digits, - and _"));
    }
    Ok(name)
}

fn host(words: &mut Words) -> Result<Command, String> {
    let name = words.name("host")?;
    let (mut lan, mut has_v6) = (None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "lan" => lan = Some(words.name("LAN")?),
            "ipv6" => has_v6 = true,
            other => return Err(format!("a host has no '{other}'")),
        }
    }
    Ok(Command::Host { name, lan, has_v6 })
}

fn changes(words: &mut Words) -> Result<Vec<(Way, Change)>, String> {
    let (mut way, mut changes) = (Way::Both, Vec::new());
    while let Some(word) = words.next() {
        let change = match word.as_str() {
            "up" => {
                way = Way::Up;
                continue;
            }
            "down" => {
                way = Way::Down;
                continue;
            }
            "both" => {
                way = Way::Both;
                continue;
            }
            "delay" => Change::Delay(units::time_ns(&words.value("a time")?)?),
            "rate" => match words.value("a rate")?.as_str() {
                "none" => Change::Rate(None),
                text => Change::Rate(Some(units::rate_bps(text)?)),
            },
            "queue" => Change::Queue(queue(&words.value("a length or a time")?)?),
            "loss" => Change::Loss(Share::parse(&words.value("a share")?)?),
            other => return Err(format!("a link has no '{other}'")),
        };
        changes.push((way, change));
    }
    if changes.is_empty() {
        return Err("nothing to set: delay, rate, queue, loss".to_owned());
    }
    Ok(changes)
}

fn queue(text: &str) -> Result<Queue, String> {
    if text == "default" {
        return Ok(super::link::QUEUE_DEFAULT);
    }
    let time = units::time_ns(text).map(Queue::Time);
    units::len(text)
        .map(Queue::Len)
        .or(time)
        .map_err(|_| format!("'{text}' is no queue: 625k, 50ms"))
}

fn nat(words: &mut Words) -> Result<Option<(Kind, u64)>, String> {
    let text = words.value("a kind of NAT")?;
    if text == "none" {
        return Ok(None);
    }
    let kind = text.parse()?;
    let idle_ns = match words.next().as_deref() {
        None => UDP_IDLE_DEFAULT_NS,
        Some("idle") => units::time_ns(&words.value("a time")?)?,
        Some(other) => return Err(format!("NAT has no '{other}'")),
    };
    Ok(Some((kind, idle_ns)))
}

fn exec(words: &mut Words) -> Result<Command, String> {
    let name = words.name("host")?;
    if words.next().as_deref() != Some("--") {
        return Err("exec HOST -- COMMAND...".to_owned());
    }
    let command: Vec<String> = words.0.drain(..).collect();
    if command.is_empty() {
        return Err("a command is missing".to_owned());
    }
    Ok(Command::Exec(name, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Hosts {
        Hosts::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn hosts_and_links_are_read() {
        let host = |lan: Option<&str>, has_v6| Command::Host {
            name: "a-1".to_owned(),
            lan: lan.map(str::to_owned),
            has_v6,
        };
        assert_eq!(parse("host a-1"), Ok(host(None, false)));
        assert_eq!(parse("  host a-1 ipv6 lan home "), Ok(host(Some("home"), true)));
        let loss = Share::parse("0.5%").expect("a share");
        let expected = vec![
            (Way::Both, Change::Delay(50_000_000)),
            (Way::Both, Change::Rate(Some(100_000_000))),
            (Way::Down, Change::Loss(loss)),
            (Way::Up, Change::Queue(Queue::Len(640_000))),
            (Way::Up, Change::Rate(None)),
            (Way::Both, Change::Queue(Queue::Time(50_000_000))),
        ];
        let line = "set a,b delay 50ms rate 100mbit down loss 0.5% \
                    up queue 625k rate none both queue default";
        assert_eq!(parse(line), Ok(Command::Set(named(&["a", "b"]), expected)));
    }

    #[test]
    fn cuts_nat_and_the_rest_are_read() {
        assert_eq!(parse("cut a b,c"), Ok(Command::Cut(named(&["a"]), named(&["b", "c"]))));
        assert_eq!(parse("heal"), Ok(Command::Heal(Hosts::All, Hosts::All)));
        assert_eq!(parse("heal a *"), Ok(Command::Heal(named(&["a"]), Hosts::All)));
        let cone = Some((Kind::Cone, UDP_IDLE_DEFAULT_NS));
        assert_eq!(parse("nat a cone"), Ok(Command::Nat(named(&["a"]), cone)));
        let short = Some((Kind::Symmetric, 2_000_000_000));
        assert_eq!(parse("nat a symmetric idle 2s"), Ok(Command::Nat(named(&["a"]), short)));
        assert_eq!(parse("nat a none"), Ok(Command::Nat(named(&["a"]), None)));
        let words = vec!["sh".to_owned(), "-c".to_owned(), "--".to_owned()];
        assert_eq!(parse("exec a -- sh -c --"), Ok(Command::Exec("a".to_owned(), words)));
        assert_eq!(parse(""), Ok(Command::Nothing));
        assert_eq!(parse("# host a"), Ok(Command::Nothing));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in [
            "hots a",
            "host",
            "host 12",
            "host a/b",
            "host a,b",
            "host a lan",
            "host a wan b",
            "set a",
            "set a up",
            "set a delay",
            "set a delay 50",
            "set a rate 0mbit",
            "set a loss 2",
            "set a queue x",
            "set a, delay 1ms",
            "nat a",
            "nat a round",
            "nat a cone idle",
            "nat a none idle 1s",
            "cut a",
            "heal a",
            "exec a",
            "exec a --",
            "exec a sh",
            "kill",
            "stats a",
            "end now",
            "host aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("host aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").is_ok(), "32 are allowed");
    }

    #[test]
    fn a_change_changes_its_property_only() {
        let mut shape = Shape::default();
        Change::Delay(7).apply(&mut shape);
        Change::Queue(Queue::Len(9)).apply(&mut shape);
        let expected = Shape { delay_ns: 7, queue: Queue::Len(9), ..Shape::default() };
        assert_eq!(shape, expected);
    }

    #[test]
    fn help_names_every_command() {
        for word in ["host", "set", "nat", "cut", "heal", "congestion", "hosts", "stats", "flows"] {
            assert!(HELP.lines().any(|line| line.split(' ').next() == Some(word)), "{word}");
        }
    }
}
