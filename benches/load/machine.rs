//! What was measured on: the processor and which instructions it has for an AEAD, the kernel and how it paces, this program's version.

/// As /proc/cpuinfo calls them.
const INSTRUCTIONS: [&str; 4] = ["aes", "avx2", "vaes", "avx512f"];

/// Names and values; what cannot be read is left out.
pub fn describe() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |field: &str| {
        let value = |line: &str| Some(line.strip_prefix(field)?.split_once(':')?.1.trim().to_owned());
        cpuinfo.lines().find_map(value)
    };
    let flags = of_cpu("flags").or_else(|| of_cpu("Features")).unwrap_or_default();
    let has = |name: &&str| flags.split(' ').any(|flag| flag == *name);
    let instructions = INSTRUCTIONS.into_iter().filter(has).collect::<Vec<_>>().join(" ");
    let kernel = read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim()));
    let congestion_control = read("/proc/sys/net/ipv4/tcp_congestion_control").map(|text| text.trim().to_owned());
    let cores = std::thread::available_parallelism().map(|cores| cores.to_string()).ok();
    [
        ("cpu", of_cpu("model name")),
        ("instructions", Some(instructions).filter(|names| !names.is_empty())),
        ("cores", cores),
        ("kernel", kernel),
        ("congestion control", congestion_control),
        ("wa-sidecar", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
