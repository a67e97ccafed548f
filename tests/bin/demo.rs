//! trial
use std::process::ExitCode;
use std::time::Instant;
fn main() -> ExitCode {
    harness::main(|| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let t = Instant::now();
            let plan = harness::cluster::Plan {
                nodes: 2,
                hardware: harness::guest::Hardware::default(),
                volume_group: Some("vg0".into()),
                images: vec![],
            };
            let mut cluster = harness::cluster::Cluster::start(&plan).await?;
            println!("ready after {:?}", t.elapsed());
            for what in std::env::args().skip(1) {
                let u = Instant::now();
                match what.as_str() {
                    "kubelet" => {
                        if let Err(e) = cluster.restart_kubelet(1) {
                            std::fs::copy("/run/flexlvm/node1.log", "/tmp/h/node1.log")?;
                            println!(
                                "{}",
                                cluster.node(1).shell(
                                    "ps axf -o pid,args; pidof kubelet; curl -v http://127.0.0.1:10248/healthz"
                                )?
                            );
                            return Err(e);
                        }
                    }
                    "cut" => {
                        cluster.cut_power(1)?;
                        cluster.power_on(1)?;
                        if let Err(e) = cluster.wait_until_ready(1).await {
                            std::fs::copy("/run/flexlvm/node1.log", "/tmp/h/node1.log")?;
                            return Err(e);
                        }
                    }
                    other => println!("{}", cluster.node(1).shell(other)?),
                }
                println!("{what} {:?}", u.elapsed());
            }
            Ok(ExitCode::SUCCESS)
        })
    })
}
