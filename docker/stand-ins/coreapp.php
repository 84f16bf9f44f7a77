<?php
// Stands in for Coreapp: takes `version;length;json` on each port and answers until its end, as Coreapp does.
//
//     php coreapp.php HOST:PORT...
//
// The answer is what tests/apps/webapp.php checks: a line `version;length;sha256;token`, then `size` bytes. One process
// serves every connection, so that one that stalls holds up no other.

$ports = [];
foreach (array_slice($argv, 1) as $address) {
    $backlog = stream_context_create(['socket' => ['backlog' => 1024]]);
    $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
    $port = stream_socket_server("tcp://$address", $errno, $error, $flags, $backlog);
    if ($port === false) {
        fwrite(STDERR, "cannot listen on $address: $error\n");
        exit(69);
    }
    stream_set_blocking($port, false);
    $ports[(int) $port] = $port;
}
fwrite(STDERR, 'listening on ' . implode(', ', array_slice($argv, 1)) . "\n");

/** What is to be answered once the request is there; null while it is not. */
function answer(string $request): ?string
{
    $parts = explode(';', $request, 3);
    if (count($parts) < 3 || strlen($parts[2]) < (int) $parts[1]) {
        return null;
    }
    $asked = json_decode($parts[2], true);
    $body = str_repeat('The quick brown fox jumps over the lazy dog. ', intdiv((int) $asked['size'], 45) + 1);
    $body = substr($body, 0, (int) $asked['size']);
    return '1;' . strlen($body) . ';' . hash('sha256', $body) . ';' . $asked['token'] . "\n" . $body;
}

$sockets = $requests = $answers = [];
while (true) {
    $readable = $ports + array_diff_key($sockets, $answers);
    $writable = array_intersect_key($sockets, $answers);
    $except = null;
    if (stream_select($readable, $writable, $except, null) === false) {
        exit(0);
    }
    foreach ($readable as $id => $socket) {
        if (isset($ports[$id])) {
            if ($accepted = @stream_socket_accept($socket, 0)) {
                stream_set_blocking($accepted, false);
                $sockets[(int) $accepted] = $accepted;
                $requests[(int) $accepted] = '';
            }
            continue;
        }
        $part = @fread($socket, 65536);
        if ($part === false || ($part === '' && feof($socket))) {
            // A caller that went before it had asked.
            fclose($socket);
            unset($sockets[$id], $requests[$id]);
            continue;
        }
        $requests[$id] .= $part;
        $answer = answer($requests[$id]);
        if ($answer !== null) {
            $answers[$id] = $answer;
        }
    }
    foreach ($writable as $id => $socket) {
        $n = @fwrite($socket, $answers[$id]);
        $answers[$id] = substr($answers[$id], (int) $n);
        if ($n === false || $answers[$id] === '') {
            fclose($socket);
            unset($sockets[$id], $requests[$id], $answers[$id]);
        }
    }
}
