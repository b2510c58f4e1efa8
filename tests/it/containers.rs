//! `runbooks/containers.ron` on a real Docker Engine: a service of two replicas, back to the image
//! before, with a secret in its environment that nothing may record.

use std::path::Path;

use backout_test_targets::docker::{Docker, Engine};
use backout_test_targets::wait_until;

use crate::support::TestEnv;

const TOKEN: &str = "tok-8c12-in-the-environment";
const PROJECT: &str = "com.docker.compose.project=shop";
const SERVICE: &str = "com.docker.compose.service=web";

fn image_of(docker: &Docker, name: &str) -> String {
    docker.docker(&["inspect", name, "--format", "{{.Image}} {{.State.Running}}"]).unwrap()
}

#[test]
fn a_service_of_two_replicas_is_rolled_back_by_the_runbook() {
    let Some(docker) = Docker::start().unwrap() else { return };
    let images = ["1", "2"]
        .map(|version| docker.image(&format!("web:{version}"), &[("VERSION", version)]).unwrap());
    let token = format!("TOKEN={TOKEN}");
    docker.docker(&["network", "create", "shop"]).unwrap();
    for name in ["shop-web-1", "shop-web-2"] {
        let args = [
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "shop",
            "--network-alias",
            "web",
            "--label",
            PROJECT,
            "--label",
            SERVICE,
            "-e",
            &token,
            "web:2",
        ];
        docker.docker(&args).unwrap();
    }
    for name in ["shop-web-1", "shop-web-2"] {
        wait_until(std::time::Duration::from_mins(1), || {
            let format = ["inspect", name, "--format", "{{.State.Health.Status}}"];
            let said = docker.docker(&format).unwrap();
            if said == "healthy" { Ok(()) } else { Err(said) }
        })
        .unwrap();
    }
    let env = TestEnv::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks/containers.ron");
    let mut command = env.command(["run", "--no-wait", "--yes", "-p", "image=previous"]);
    command.arg("-p").arg(format!("engine={}", docker.host())).arg(file);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    for name in ["shop-web-1", "shop-web-2"] {
        assert_eq!(image_of(&docker, name), format!("{} true", images[0]));
    }
    let recorded: String = env.history("latest").iter().map(serde_json::Value::to_string).collect();
    assert!(recorded.contains("-backout-kept-"), "{recorded}");
    assert!(!recorded.contains(TOKEN) && !said.contains(TOKEN));
}
