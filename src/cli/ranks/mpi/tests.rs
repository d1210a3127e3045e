use std::env::{current_exe, var};
use std::process::{Command, Output, Stdio, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wgrad::train::ranks::Link;

use super::Mpi;

/// Which of the roles below a process has.
const ROLE: &str = "WGRAD_TEST_ROLE";

/// Two processes in a role, and how long they took.
fn ranks(role: &str) -> (Output, Duration) {
    let began = Instant::now();
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "-n", "2"]).arg(current_exe().unwrap());
    command.args(["cli::ranks::mpi::tests::role", "--exact", "--ignored", "--nocapture"]).env(ROLE, role);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output, began.elapsed())
}

/// The errors that processes in a role end with, after half a minute.
fn ended_with(role: &str) -> String {
    let (output, took) = ranks(role);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!((29..60).contains(&took.as_secs()), "{took:?}: {told}");
    told
}

#[test]
#[ignore = "what the processes do that the other tests start"]
fn role() {
    let Ok(role) = var(ROLE) else { return };
    let mut link = Mpi::start(|rank, _| panic!("rank {rank} is lost")).unwrap();
    let other = 1 - link.rank();
    match role.as_str() {
        // All send more than may wait before they receive.
        "send" => {
            let message = |number: usize| vec![number as u8; (5 + number % 7) << 20];
            for number in 0..40 {
                link.send(other, message(number)).unwrap();
            }
            for number in 0..40 {
                assert!(link.receive(other).unwrap() == message(number));
            }
        }
        "stay" if link.rank() == 1 => sleep(Duration::from_secs(600)),
        "stay" => {}
        // Rank 1 has said goodbye when it is stopped.
        "stop" if link.rank() == 1 => link.send(other, id().to_string().into_bytes()).unwrap(),
        "stop" => {
            let process = String::from_utf8(link.receive(other).unwrap()).unwrap();
            assert!(link.receive(other).is_err());
            assert!(Command::new("kill").args(["-STOP", &process]).status().unwrap().success());
        }
        _ => panic!("there is no role {role}"),
    }
    link.close();
}

#[test]
fn all_may_send_before_they_receive() {
    let (output, took) = ranks("send");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn a_rank_that_lives_and_does_not_end_is_ended() {
    let told = ended_with("stay");
    assert_eq!(
        told.matches("error: rank 1: it lives, and has not ended 30 s after rank 0").count(),
        1,
        "{told}"
    );
}

#[test]
fn a_rank_that_is_stopped_after_its_goodbye_keeps_none() {
    let told = ended_with("stop");
    assert_eq!(told.matches("error: MPI has not ended in 30 s").count(), 1, "{told}");
}
