//! What was measured on: the processor, the kernel, this program's version.

/// Names and values; what cannot be read is left out.
pub fn describe() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let model = read("/proc/cpuinfo").and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(':')
                .map(|(_, name)| name.trim().to_owned())
        })
    });
    let kernel = read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim()));
    let cores = std::thread::available_parallelism().map(|cores| cores.to_string()).ok();
    [
        ("cpu", model),
        ("cores", cores),
        ("kernel", kernel),
        ("wa-sidecar", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
