//! `cargo x mixed`: pushes, forced pushes, deletions, LFS uploads, clones, mounts and gc all at
//! once on a running server, which is killed again and again; or, with `--minutes`, is not, and
//! must have given its space back at the end.
//!
//! Each worker has repositories of its own and notes what was acknowledged. A reference whose push
//! or deletion was cut off may be what it was or what it was to be; everything else must be exactly
//! as noted, and every clone right for git and git-lfs.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Plan;
use super::load::{Counts, Repo, Server, Site};
use crate::args::Args;
use crate::random::Random;

/// Clients that work at the same time.
const WORKER_COUNT: usize = 2;
/// Repositories of each.
const REPO_COUNT: usize = 2;
/// After so many rounds all begins anew, so that the disk does not fill.
const FRESH_EVERY: u64 = 100;
/// A round lasts at most so long, in milliseconds.
const ROUND_MS: usize = 2_000;
/// What may be left beside what lives: a twentieth, and so much, in bytes.
const SLACK_LEN: u64 = 64 << 20;

/// One client.
struct Worker {
    repos: Vec<Repo>,
    random: Random,
    counts: Counts,
}

/// Runs `cargo x mixed`.
///
/// # Errors
/// Wrong arguments, or the first thing that was not as it has to be.
pub fn run(mut args: Args) -> Result<(), String> {
    let minutes: Option<u64> = args.option("--minutes")?;
    let plan = Plan::read(args, "mixed", 50)?;
    let mut total = Counts::default();
    match minutes {
        Some(minutes) => {
            let (site, mut workers) = begin(&plan, 0)?;
            let server = Server::start(&site)?;
            work(&site, &server, &mut workers, Duration::from_secs(minutes * 60), None)?;
            verify(&site, &server, &mut workers)?;
            server.end()?;
            check_space(&site, &workers)?;
            workers.iter().for_each(|worker| total.add(&worker.counts));
        }
        None => kill_rounds(&plan, &mut total)?,
    }
    plan.clean()?;
    println!("mixed: {total}, 0 failed");
    Ok(())
}

fn kill_rounds(plan: &Plan, total: &mut Counts) -> Result<(), String> {
    let mut random = Random::labelled(plan.seed, "mixed");
    let (mut site, mut workers) = begin(plan, 0)?;
    let mut server = Server::start(&site)?;
    for round in 0..plan.rounds {
        if round > 0 && round % FRESH_EVERY == 0 {
            server.end()?;
            workers.iter().for_each(|worker| total.add(&worker.counts));
            (site, workers) = begin(plan, round)?;
            server = Server::start(&site)?;
        }
        let delay = Duration::from_millis(random.below(ROUND_MS) as u64);
        let at = |error| format!("round {round}, {} ms: {error}", delay.as_millis());
        work(&site, &server, &mut workers, delay, Some(&server)).map_err(at)?;
        server = Server::start(&site).map_err(at)?;
        verify(&site, &server, &mut workers).map_err(at)?;
        if (round + 1) % 10 == 0 {
            println!("{} rounds, all whole", round + 1);
        }
    }
    server.end()?;
    workers.iter().for_each(|worker| total.add(&worker.counts));
    total.kills = plan.rounds;
    Ok(())
}

/// A store and clients that have nothing yet.
fn begin(plan: &Plan, round: u64) -> Result<(Site, Vec<Worker>), String> {
    let folder = plan.folder.join("mixed");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let site = Site::new(&plan.program, &folder)?;
    site.mega(&["init"])?;
    let worker = |index: usize| {
        let label = format!("worker {index} from {round}");
        let repos = (0..REPO_COUNT).map(|number| Repo::new(&site, &format!("w{index}-{number}")));
        Ok(Worker {
            repos: repos.collect::<Result<_, String>>()?,
            random: Random::labelled(plan.seed, &label),
            counts: Counts::default(),
        })
    };
    let workers = (0..WORKER_COUNT).map(worker).collect::<Result<_, String>>()?;
    Ok((site, workers))
}

/// Has everybody work for a time, gc too; then, if asked, kills the server in the middle of it.
fn work(
    site: &Site,
    server: &Server,
    workers: &mut [Worker],
    time: Duration,
    kill: Option<&Server>,
) -> Result<(), String> {
    let is_over = AtomicBool::new(false);
    let end = Instant::now() + time;
    let ended = thread::scope(|scope| {
        let gc = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::SeqCst) {
                let done = site.mega(&["gc", "--grace", "0"]);
                if !is_over.load(Ordering::SeqCst) {
                    done?;
                    count += 1;
                }
            }
            Ok::<u64, String>(count)
        });
        let running: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        let repo = worker.random.below(worker.repos.len());
                        let Worker { repos, random, counts } = &mut *worker;
                        if let Err(error) = repos[repo].step(site, server, random, is_over, counts)
                        {
                            is_over.store(true, Ordering::SeqCst);
                            return Err(error);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        while Instant::now() < end && !is_over.load(Ordering::SeqCst) {
            thread::park_timeout(end.saturating_duration_since(Instant::now()).min(ROUND));
        }
        is_over.store(true, Ordering::SeqCst);
        if let Some(server) = kill {
            server.kill()?;
        }
        let ends = running.into_iter().map(|worker| worker.join().map_err(|_| "a panic")?);
        ends.collect::<Result<(), String>>()?;
        gc.join().map_err(|_| "a panic".to_owned())?
    });
    workers[0].counts.gcs += ended?;
    Ok(())
}

/// How often it is looked whether somebody has failed.
const ROUND: Duration = Duration::from_millis(50);

fn verify(site: &Site, server: &Server, workers: &mut [Worker]) -> Result<(), String> {
    workers.iter_mut().flat_map(|worker| &mut worker.repos).try_for_each(|repo| {
        repo.verify(site, server).map_err(|error| format!("{}: {error}", repo.name))
    })
}

/// After a last gc the store takes little more than one into which everything was just imported.
fn check_space(site: &Site, workers: &[Worker]) -> Result<(), String> {
    site.mega(&["gc", "--grace", "0"])?;
    let fresh = Site::new(&site.program, &site.folder.join("fresh"))?;
    fresh.mega(&["init"])?;
    for repo in workers.iter().flat_map(|worker| &worker.repos).filter(|repo| repo.is_there()) {
        let copy = site.folder.join("export").to_string_lossy().into_owned();
        site.mega(&["export", &repo.name, &copy, "--lfs"])?;
        fresh.mega(&["import", &copy, &repo.name])?;
        fs::remove_dir_all(&copy).map_err(|error| format!("{copy}: {error}"))?;
    }
    fresh.mega(&["gc"])?;
    let [ours, wanted] = [site, &fresh].map(|site| content_len(&site.store.join("db")));
    println!("the store takes {ours} bytes, a fresh import of what lives {wanted}");
    if ours > wanted + wanted / 20 + SLACK_LEN {
        return Err("the store is larger than that and a twentieth and 64 MiB".to_owned());
    }
    Ok(())
}

/// Bytes of a folder's files, the database's own log of messages aside.
fn content_len(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with("LOG"));
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}
