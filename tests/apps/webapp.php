<?php
// Calls as the Webapp does: one connection per call, `version;length;json`, then the response read until its end.
//
//     php webapp.php HOST PORT CALLS SEED
//
// Every answer begins with a line `version;length;sha256;token`, so that it can be told whole, whatever the connection
// says. Prints one line of JSON: how many calls came back whole, how many failed by an error, and what must never be:
// `short` (ended in order, and is not whole) and `wrong` (other bytes than the Coreapp's).
//
// feof() alone cannot tell: it peeks at the socket, and takes a reset for an end. A socket that was reset has no peer
// any more; one that was closed in order still has.

[, $host, $port, $calls, $seed] = $argv;
mt_srand((int) $seed);
$result = ['whole' => 0, 'failed' => 0, 'cut' => 0, 'short' => 0, 'wrong' => 0, 'bytes' => 0, 'examples' => []];

function size(): int
{
    $kind = mt_rand(0, 999);
    return match (true) {
        $kind < 20 => 0,
        $kind < 700 => mt_rand(1, 1000),
        $kind < 900 => mt_rand(1000, 16_384),
        $kind < 985 => mt_rand(16_384, 65_536),
        $kind < 998 => [4_095, 4_096, 4_097, 16_383, 16_384, 16_385, 65_535, 65_537][mt_rand(0, 7)],
        default => 1_048_576,
    };
}

/** What became of a call, and why. */
function call(string $host, int $port, string $token, int &$bytes): array
{
    $socket = @fsockopen($host, $port, $errno, $error, 10);
    if ($socket === false) {
        return ['failed', "connect: $error"];
    }
    stream_set_timeout($socket, 45);
    $pad = str_repeat('x', mt_rand(0, 99) < 95 ? mt_rand(0, 500) : mt_rand(500, 50_000));
    $json = json_encode(['size' => size(), 'token' => $token, 'pad' => $pad]);
    $left = '1;' . strlen($json) . ';' . $json;
    while ($left !== '') {
        $n = @fwrite($socket, $left);
        if ($n === false || $n === 0) {
            return ['failed', 'write'];
        }
        $left = substr($left, $n);
    }
    $answer = '';
    while (!feof($socket)) {
        $part = @fread($socket, 8192);
        if ($part === false) {
            return [$answer === '' ? 'failed' : 'cut', 'read'];
        }
        $answer .= $part;
        if (stream_get_meta_data($socket)['timed_out']) {
            return ['failed', 'timed out after ' . strlen($answer) . ' bytes'];
        }
    }
    $reset = stream_socket_get_name($socket, true) === false;
    fclose($socket);
    if ($reset) {
        return [$answer === '' ? 'failed' : 'cut', 'reset'];
    }
    $bytes += strlen($answer);
    $line = strpos($answer, "\n");
    $got = strlen($answer) . ' bytes, in order: ' . substr($answer, 0, 120);
    if ($line === false) {
        return ['short', $got];
    }
    $header = explode(';', substr($answer, 0, $line));
    $body = substr($answer, $line + 1);
    if (count($header) !== 4 || $header[0] !== '1' || $header[3] !== $token) {
        return ['wrong', $got];
    }
    if (strlen($body) < (int) $header[1]) {
        return ['short', $got];
    }
    if (strlen($body) > (int) $header[1] || hash('sha256', $body) !== $header[2]) {
        return ['wrong', $got];
    }
    return ['whole', ''];
}

for ($i = 0; $i < (int) $calls; $i++) {
    [$what, $why] = call($host, (int) $port, "$seed-$i", $result['bytes']);
    $result[$what]++;
    if ($what !== 'whole') {
        if (count($result['examples']) < 5) {
            $result['examples'][] = "call $i $what: $why";
        }
        usleep(20_000);
    }
}
echo json_encode($result), "\n";
