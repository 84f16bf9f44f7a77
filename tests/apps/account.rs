//! What a pair says of what went through it, held against what the programs at its ends say.

use crate::harness::{Pair, Sidecar};

/// How streams ended: `wa_sidecar_streams_ended_total`.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub fin: u64,
    pub reset: u64,
    pub refused: u64,
    pub link_lost: u64,
    pub stopped: u64,
}

impl Ended {
    pub fn all(self) -> u64 {
        self.fin + self.reset + self.refused + self.link_lost + self.stopped
    }
}

fn count(sidecar: &Sidecar, sample: &str) -> u64 {
    sidecar.metric(&format!("wa_sidecar_{sample}")) as u64
}

pub fn opened(sidecar: &Sidecar) -> u64 {
    count(sidecar, "streams_opened_total")
}

/// Once nothing is open any more.
pub fn ended(sidecar: &Sidecar) -> Ended {
    sidecar.until_metric("wa_sidecar_streams_open", |open| open == 0.0);
    let by = |end| count(sidecar, &format!("streams_ended_total{{end=\"{end}\"}}"));
    Ended {
        fin: by("fin"),
        reset: by("reset"),
        refused: by("refused"),
        link_lost: by("link_lost"),
        stopped: by("stopped"),
    }
}

/// Both sides opened and ended as many streams, by one link that was never lost: however the apps ended them.
pub fn served(pair: &Pair, streams: u64) {
    for (role, sidecar) in [("webapp", &pair.web), ("coreapp", &pair.core)] {
        let ended = ended(sidecar);
        assert_eq!((opened(sidecar), ended.all()), (streams, streams), "{role}: {ended:?}");
        assert_eq!((ended.refused, ended.link_lost), (0, 0), "{role}: {ended:?}");
        let page = sidecar.page("/metrics");
        for family in ["links_ended_total", "frames_refused_total", "limits_hit_total"] {
            let samples = page
                .lines()
                .filter(|line| line.starts_with(&format!("wa_sidecar_{family}{{")));
            // Busy streams ask for more than there is to lend: that refuses nothing that an app would notice.
            let samples = samples.filter(|line| !line.contains("\"window_growth\""));
            let wrong: Vec<_> = samples.filter(|line| !line.ends_with(" 0")).collect();
            assert!(wrong.is_empty(), "{role}: {wrong:?}");
        }
        assert_eq!(count(sidecar, "links_up"), 1, "{role}");
        assert_eq!(count(sidecar, "handshakes_total{result=\"accepted\"}"), 1, "{role}");
    }
}

/// The same, each one ended in order, and no byte of the apps is missing.
pub fn whole(pair: &Pair, streams: u64) {
    served(pair, streams);
    for (role, sidecar) in [("webapp", &pair.web), ("coreapp", &pair.core)] {
        assert_eq!(ended(sidecar).fin, streams, "{role}: {:?}", ended(sidecar));
    }
    let bytes = |sidecar, direction| count(sidecar, &format!("plaintext_bytes_total{{direction=\"{direction}\"}}"));
    assert_eq!(
        bytes(&pair.web, "sent"),
        bytes(&pair.core, "received"),
        "to the Coreapp"
    );
    assert_eq!(bytes(&pair.core, "sent"), bytes(&pair.web, "received"), "to the Webapp");
}
