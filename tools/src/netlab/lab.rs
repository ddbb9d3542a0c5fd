//! `x netlab lab`: a lab that lives as long as its input, told what to do line by line.
//!
//! Each line of input is one command (see `command`); its answer is any number of lines of words,
//! then `ok` or `error: WHY`. One command at a time, in order; packets move meanwhile. When the
//! input ends, and when the process does by whatever signal, all hosts go with all that runs there.

use std::io::{self, BufRead, Write};
use std::process::{Command as Process, Stdio};

use super::command::{self, Change, Command, Hosts, Way};
use super::emulator::Emulator;
use super::fabric::Fabric;
use super::host::{self, Host};
use super::nat::Kind;

/// The answer to one command: its lines.
type Answer = Result<Vec<String>, String>;

struct Lab {
    emulator: Emulator,
    /// By the same index as in the network.
    hosts: Vec<Host>,
}

/// Runs a lab with losses from `seed` until its input ends.
///
/// # Errors
/// The system's, when there can be no lab. What is wrong with a command is answered.
pub fn run(seed: u64) -> Result<(), String> {
    let system = |error: io::Error| error.to_string();
    let emulator = Emulator::start(Fabric::new(seed)).map_err(system)?;
    let mut lab = Lab { emulator, hosts: Vec::new() };
    // Or the emulator, which hurries, would wait for this thread while it has the state.
    super::sys::hurry();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let command = command::parse(&line.map_err(system)?);
        if command == Ok(Command::Nothing) {
            continue;
        }
        let is_end = command == Ok(Command::End);
        let mut text = String::new();
        match command.and_then(|command| lab.obey(command)) {
            Ok(lines) => lines.iter().for_each(|line| text.push_str(&format!("{line}\n"))),
            Err(why) => text.push_str(&format!("error: {}\n", why.replace('\n', " "))),
        }
        if !text.starts_with("error: ") {
            text.push_str("ok\n");
        }
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(system)?;
        if is_end {
            break;
        }
    }
    Ok(())
}

impl Lab {
    fn obey(&mut self, command: Command) -> Answer {
        let done = |()| Vec::new();
        match command {
            Command::Host { name, lan, has_v6 } => {
                self.add(&name, lan.as_deref(), has_v6)?;
                Ok(vec![self.describe(self.hosts.len() - 1)])
            }
            Command::Set(hosts, changes) => self.set(&hosts, &changes).map(done),
            Command::Nat(hosts, kind) => self.set_nat(&hosts, kind).map(done),
            Command::Cut(a, b) => self.set_cut(&a, &b, true).map(done),
            Command::Heal(a, b) => self.set_cut(&a, &b, false).map(done),
            Command::Congestion(hosts, name) => {
                let hosts = self.find(&hosts)?;
                hosts.into_iter().try_for_each(|host| self.hosts[host].set_congestion(&name))?;
                Ok(Vec::new())
            }
            Command::Hosts => Ok((0..self.hosts.len()).map(|host| self.describe(host)).collect()),
            Command::Stats => Ok(self.stats()),
            Command::Flows => Ok(self.flows()),
            Command::Exec(host, words) => self.exec(&host, &words),
            Command::Kill(name) => {
                let host = self.emulator.state().fabric.find(&name)?;
                self.hosts[host].kill().map_err(|error| format!("{name}: {error}"))?;
                Ok(Vec::new())
            }
            Command::Help => Ok(command::HELP.lines().map(str::to_owned).collect()),
            Command::End | Command::Nothing => Ok(Vec::new()),
        }
    }

    fn find(&self, hosts: &Hosts) -> Result<Vec<usize>, String> {
        let fabric = &self.emulator.state().fabric;
        match hosts {
            Hosts::All => Ok((0..fabric.host_count()).collect()),
            Hosts::Named(names) => names.iter().map(|name| fabric.find(name)).collect(),
        }
    }

    /// Makes a host. A failure to make it ends the lab: the network already counts with it.
    fn add(&mut self, name: &str, lan: Option<&str>, has_v6: bool) -> Result<(), String> {
        let (index, addresses) = {
            let fabric = &mut self.emulator.state().fabric;
            let index = fabric.add(name, lan, has_v6)?;
            (index, fabric.addresses(index))
        };
        assert_eq!(index, self.hosts.len(), "hosts are numbered alike here and in the network");
        let made = Host::start(name, &addresses, has_v6).and_then(|(host, device)| {
            self.emulator.connect(device).map_err(|error| error.to_string())?;
            Ok(host)
        });
        match made {
            Ok(host) => {
                self.hosts.push(host);
                Ok(())
            }
            Err(error) => {
                eprintln!("netlab: {error}");
                std::process::exit(1);
            }
        }
    }

    fn set(&self, hosts: &Hosts, changes: &[(Way, Change)]) -> Result<(), String> {
        for host in self.find(hosts)? {
            let mut state = self.emulator.state();
            let (up, down) = state.fabric.links(host);
            for (way, change) in changes {
                if *way != Way::Down {
                    change.apply(&mut up.shape);
                }
                if *way != Way::Up {
                    change.apply(&mut down.shape);
                }
            }
        }
        Ok(())
    }

    fn set_nat(&self, hosts: &Hosts, kind: Option<(Kind, u64)>) -> Result<(), String> {
        for host in self.find(hosts)? {
            let changed = {
                let fabric = &mut self.emulator.state().fabric;
                let before: Vec<_> =
                    (0..fabric.host_count()).map(|host| fabric.addresses(host)).collect();
                let members = fabric.set_nat(host, kind).into_iter();
                let moved = members.map(|host| (host, before[host], fabric.addresses(host)));
                moved.filter(|(_, left, new)| left.v4 != new.v4).collect::<Vec<_>>()
            };
            for (host, left, new) in changed {
                let set = self.hosts[host].set_addresses(&new, &left);
                set.map_err(|error| format!("addresses: {error}"))?;
            }
        }
        Ok(())
    }

    fn set_cut(&self, a: &Hosts, b: &Hosts, is_cut: bool) -> Result<(), String> {
        let (a, b) = (self.find(a)?, self.find(b)?);
        self.emulator.state().fabric.set_cut(&a, &b, is_cut);
        Ok(())
    }

    fn describe(&self, host: usize) -> String {
        let fabric = &self.emulator.state().fabric;
        let addresses = fabric.addresses(host);
        let v6 = addresses.v6.map_or_else(|| "none".to_owned(), |v6| v6.to_string());
        let (kind, mapping_count) = match fabric.nat(host) {
            Some((kind, count)) => (kind.to_string(), count),
            None => ("none".to_owned(), 0),
        };
        format!(
            "host {} pid {} address {} public {} ipv6 {v6} nat {kind} mappings {mapping_count}",
            fabric.name(host),
            self.hosts[host].pid,
            addresses.v4,
            addresses.public,
        )
    }

    fn stats(&self) -> Vec<String> {
        let dropped: Vec<u64> = self.hosts.iter().map(Host::kernel_dropped).collect();
        let mut state = self.emulator.state();
        let (late, late_max_ns) = state.fabric.lateness();
        let unwritten = state.unwritten_count;
        let mut lines = vec![format!(
            "lab late {late} late-max-us {} unwritten {unwritten}",
            late_max_ns / 1000
        )];
        for (index, dropped) in dropped.into_iter().enumerate() {
            let counts = state.fabric.counts(index);
            let name = state.fabric.name(index).to_owned();
            let (up, down) = state.fabric.links(index);
            lines.push(format!(
                "host {name} up-packets {} up-bytes {} up-lost {} up-full {} \
                 down-packets {} down-bytes {} down-lost {} down-full {} \
                 cut {} refused {} unrouted {} odd {} kernel-dropped {dropped}",
                counts.up_packets,
                counts.up_bytes,
                up.lost_count,
                up.full_count,
                counts.down_packets,
                counts.down_bytes,
                down.lost_count,
                down.full_count,
                counts.cut,
                counts.refused,
                counts.unrouted,
                counts.odd,
            ));
        }
        lines
    }

    fn flows(&self) -> Vec<String> {
        let state = self.emulator.state();
        let line = |(from, to, packets, bytes): (&str, &str, u64, u64)| {
            format!("flow {from} to {to} packets {packets} bytes {bytes}")
        };
        state.fabric.flows().map(line).collect()
    }

    fn exec(&self, name: &str, words: &[String]) -> Answer {
        let pid = {
            let host = self.emulator.state().fabric.find(name)?;
            self.hosts[host].pid.to_string()
        };
        let mut process = Process::new("/proc/self/exe");
        process.args(["netlab", "exec", &pid, "--"]).args(words);
        process.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = process.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines: Vec<String> = text.lines().map(|line| format!("out {line}")).collect();
        lines.push(format!("exit {}", host::exit_code(output.status)));
        Ok(lines)
    }
}
