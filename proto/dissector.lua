-- Wireshark and tshark (4.0 or later) on the link of wa-sidecar: SPEC.md, sections 3.1, 4, 5, 6, 10 and 11.
--
--   tshark -X lua_script:proto/dissector.lua -r link.pcap                        port 7250, or links whose start is in it whole
--   tshark -X lua_script:proto/dissector.lua -d tcp.port==9000,wa_sidecar ...    a link on another port
--   wireshark -X lua_script:proto/dissector.lua ...    or put this file into the folder of "Personal Lua Plugins" (Help > About)
--
-- Try the filters `wa_sidecar && _ws.expert` (gaps, repeats, late frames, rekeys) and `wa_sidecar.frame.age > 1000`. For segments
-- out of order add `-o tcp.reassemble_out_of_order:TRUE`. A capture with `-s 128` shows all headers, but no tags of long frames.
-- The *age* is an estimate: how much later than the first frame of its direction a frame was captured, less how much later it was
-- stamped. It shows what the line or a middlebox held back since then, not what it always holds back. Messages show with
-- `-o wa_sidecar.keylog_file:FILE`, lines of `WA_SIDECAR_EPOCH <ephemeral of message 1> <epoch> <suite> <k_i> <k_r> <h>` (hex; the
-- numbers decimal; epoch 0 is the handshake's). The program never writes them. Tags are not checked, AES-256-GCM is not opened.

local MESSAGE_LEN, HEADER_LEN, TAG_LEN = 512, 20, 16
local MIN_LENGTH, MAX_LENGTH, COUNTER_END, GENERATION = 17, 262160, 2 ^ 48, 2 ^ 20
local LATE_MS, LAST_STAMP = 10000, 2 ^ 47

local link_proto = Proto("wa_sidecar", "wa-sidecar link")

local prefs = link_proto.prefs
prefs.ports = Pref.range("TCP ports", "7250", "Ports of responders (role coreapp)", 65535)
prefs.heuristic = Pref.bool("Find links on other ports", true, "By their first 512 bytes: version 1 and what looks random")
prefs.keylog_file = Pref.string("Key log file", "", "Lines WA_SIDECAR_EPOCH <ephemeral> <epoch> <suite> <k_i> <k_r> <h>")

-- Fields ------------------------------------------------------------------------------------------------------------

local CODES = { [0] = "unspecified", "app_reset", "dial_refused", "dial_timeout", "dial_failed", "unknown_service", "busy",
  "draining", "answer" }
local GOAWAYS = { [0] = "shutdown", "ids used up", "keys too old" }
local TYPES = { "OPEN", "DATA", "CREDIT", "YIELD", "FIN", "RESET", "STOP", "PING", "PONG", "REKEY1", "REKEY2", "REKEY3", "GOAWAY" }

local F = {
  direction = ProtoField.string("wa_sidecar.direction", "Direction"),
  unknown = ProtoField.bytes("wa_sidecar.unknown", "Not a message or frame that starts here"),
  rest = ProtoField.bytes("wa_sidecar.rest", "More of a frame that cannot be put together"),
  message = ProtoField.uint8("wa_sidecar.handshake", "Handshake message"),
  version = ProtoField.uint8("wa_sidecar.handshake.version", "Version"),
  ephemeral = ProtoField.bytes("wa_sidecar.handshake.ephemeral", "Noise ephemeral"),
  payload = ProtoField.bytes("wa_sidecar.handshake.payload", "Sealed payload"),
  payload_tag = ProtoField.bytes("wa_sidecar.handshake.tag", "Tag"),
  frame = ProtoField.none("wa_sidecar.frame", "Frame"),
  length = ProtoField.uint32("wa_sidecar.frame.length", "Length (ciphertext and tag)"),
  counter = ProtoField.uint64("wa_sidecar.frame.counter", "Counter"),
  stamp_ms = ProtoField.uint64("wa_sidecar.frame.timestamp_ms", "Timestamp (ms)"),
  stamp = ProtoField.absolute_time("wa_sidecar.frame.timestamp", "Timestamp", base.UTC),
  ciphertext = ProtoField.bytes("wa_sidecar.frame.ciphertext", "Ciphertext"),
  tag = ProtoField.bytes("wa_sidecar.frame.tag", "Tag"),
  size = ProtoField.uint32("wa_sidecar.frame.size", "Size of the frame"),
  ciphertext_length = ProtoField.uint32("wa_sidecar.frame.ciphertext_length", "Length of the ciphertext"),
  expected = ProtoField.uint64("wa_sidecar.frame.expected", "Counter expected"),
  epoch = ProtoField.uint32("wa_sidecar.frame.epoch", "Epoch"),
  generation = ProtoField.uint32("wa_sidecar.frame.generation", "Generation (counter >> 20)"),
  age = ProtoField.double("wa_sidecar.frame.age", "Age in ms, estimated"),
  type = ProtoField.uint8("wa_sidecar.message.type", "Type", base.DEC, TYPES),
  id = ProtoField.uint32("wa_sidecar.message.id", "Stream"),
  n = ProtoField.uint32("wa_sidecar.message.n", "Length"),
  service = ProtoField.string("wa_sidecar.message.service", "Service"),
  data = ProtoField.bytes("wa_sidecar.message.data", "Data"),
  limit = ProtoField.uint64("wa_sidecar.message.limit", "Limit"),
  offset = ProtoField.uint64("wa_sidecar.message.offset", "Offset"),
  code = ProtoField.uint8("wa_sidecar.message.code", "Code", base.DEC, CODES),
  token = ProtoField.uint64("wa_sidecar.message.token", "Token", base.HEX),
  clock = ProtoField.uint64("wa_sidecar.message.clock", "Clock (ms)"),
  status = ProtoField.uint8("wa_sidecar.message.status", "Status (0: accepted)"),
  noise = ProtoField.bytes("wa_sidecar.message.noise", "Noise message"),
  goaway = ProtoField.uint8("wa_sidecar.message.goaway", "Code", base.DEC, GOAWAYS),
}
link_proto.fields = F

local function expert_field(name, text, group, severity)
  return ProtoExpert.new("wa_sidecar.expert." .. name, text, expert.group[group], expert.severity[severity])
end
local X = {
  boundary = expert_field("boundary", "Not where a message or frame starts", "PROTOCOL", "ERROR"),
  length = expert_field("length", "Length out of range", "PROTOCOL", "ERROR"),
  cut = expert_field("cut", "Not captured whole", "UNDECODED", "NOTE"),
  gap = expert_field("gap", "Frames are missing before this one", "SEQUENCE", "WARN"),
  repeated = expert_field("repeat", "Counter repeated", "SEQUENCE", "WARN"),
  rekey = expert_field("rekey", "New epoch (REKEY)", "SEQUENCE", "CHAT"),
  late = expert_field("late", "Age beyond 10 s", "SEQUENCE", "WARN"),
  stamp = expert_field("timestamp", "No clock says this", "PROTOCOL", "WARN"),
  unchecked = expert_field("unchecked", "Decrypted without checking the tag", "DECRYPTION", "NOTE"),
  sealed = expert_field("sealed", "Not decrypted", "DECRYPTION", "NOTE"),
  message = expert_field("message", "Not a message: garbled, or a wrong key", "PROTOCOL", "ERROR"),
}
link_proto.experts = X

-- SHA-256, HMAC, the key schedule and ChaCha20 ----------------------------------------------------------------------
-- In Lua: Wireshark's own ciphers reach scripts only in later versions than 4.0.

local bits = bit32 or load([[
  local function rrotate(x, n) return (x >> n | x << (32 - n)) & 0xffffffff end
  return {
    band = function(a, b) return a & b end, bnot = function(a) return ~a & 0xffffffff end,
    bxor = function(a, b, c) return a ~ b ~ (c or 0) end, rshift = function(x, n) return x >> n end,
    rrotate = rrotate, lrotate = function(x, n) return rrotate(x, 32 - n) end,
  }]])()
local band, bnot, bxor, rshift, rrotate, lrotate = bits.band, bits.bnot, bits.bxor, bits.rshift, bits.rrotate, bits.lrotate
local WORD = 0x100000000

local function be32(word)
  return string.char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

local function words(text, at, count, little)
  local out = {}
  for i = 1, count do
    local a, b, c, d = text:byte(at + 4 * i - 4, at + 4 * i - 1)
    if little then a, b, c, d = d, c, b, a end
    out[i] = ((a * 256 + b) * 256 + c) * 256 + d
  end
  return out
end

-- FIPS 180-4: the first 32 bits of the fractional parts of the roots of the first primes.
local SHA_START, SHA_ROUND = {}, {}
do
  local candidate = 2
  while #SHA_ROUND < 64 do
    local prime = true
    for divisor = 2, math.floor(candidate ^ 0.5) do prime = prime and candidate % divisor ~= 0 end
    if prime then
      if #SHA_START < 8 then SHA_START[#SHA_START + 1] = math.floor(candidate ^ 0.5 % 1 * 2 ^ 32) end
      SHA_ROUND[#SHA_ROUND + 1] = math.floor(candidate ^ (1 / 3) % 1 * 2 ^ 32)
    end
    candidate = candidate + 1
  end
end

local function sha256(text)
  local padded = text .. "\128" .. ("\0"):rep((55 - #text) % 64) .. be32(0) .. be32(#text * 8)
  local state = { table.unpack(SHA_START) }
  for at = 1, #padded, 64 do
    local w = words(padded, at, 16)
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      local s0 = bxor(rrotate(x, 7), rrotate(x, 18), rshift(x, 3))
      local s1 = bxor(rrotate(y, 17), rrotate(y, 19), rshift(y, 10))
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) % WORD
    end
    local a, b, c, d, e, f, g, h = table.unpack(state)
    for i = 1, 64 do
      local s1 = bxor(rrotate(e, 6), rrotate(e, 11), rrotate(e, 25))
      local t1 = h + s1 + bxor(band(e, f), band(bnot(e), g)) + SHA_ROUND[i] + w[i]
      local s0 = bxor(rrotate(a, 2), rrotate(a, 13), rrotate(a, 22))
      local t2 = s0 + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, (d + t1) % WORD, c, b, a, (t1 + t2) % WORD
    end
    for i, word in ipairs({ a, b, c, d, e, f, g, h }) do state[i] = (state[i] + word) % WORD end
  end
  local out = {}
  for i = 1, 8 do out[i] = be32(state[i]) end
  return table.concat(out)
end

-- RFC 2104. No key here is longer than a block.
local function hmac(key, text)
  local function pad(byte)
    return ((key .. ("\0"):rep(64 - #key)):gsub(".", function(c) return string.char(bxor(c:byte(), byte)) end))
  end
  return sha256(pad(0x5c) .. sha256(pad(0x36) .. text))
end

-- RFC 5869 for up to 32 bytes: one block.
local function expand(prk, info, length) return hmac(prk, info .. "\1"):sub(1, length) end

-- RFC 8439, section 2.4, from block 1 on as in its section 2.8. The same XOR seals and opens.
local QUARTERS = { { 1, 5, 9, 13 }, { 2, 6, 10, 14 }, { 3, 7, 11, 15 }, { 4, 8, 12, 16 }, { 1, 6, 11, 16 }, { 2, 7, 12, 13 },
  { 3, 8, 9, 14 }, { 4, 5, 10, 15 } }
local function chacha20(key, nonce, text)
  local start = words("expand 32-byte k" .. key .. "\0\0\0\0" .. nonce, 1, 16, true)
  local out = {}
  for at = 1, #text, 64 do
    start[13] = (at + 63) / 64
    local x = { table.unpack(start) }
    for _ = 1, 10 do
      for _, quarter in ipairs(QUARTERS) do
        local ai, bi, ci, di = quarter[1], quarter[2], quarter[3], quarter[4]
        local a, b, c, d = x[ai], x[bi], x[ci], x[di]
        a = (a + b) % WORD; d = lrotate(bxor(d, a), 16)
        c = (c + d) % WORD; b = lrotate(bxor(b, c), 12)
        a = (a + b) % WORD; d = lrotate(bxor(d, a), 8)
        c = (c + d) % WORD; b = lrotate(bxor(b, c), 7)
        x[ai], x[bi], x[ci], x[di] = a, b, c, d
      end
    end
    for i = 1, math.min(64, #text - at + 1) do
      local word = math.floor((i + 3) / 4)
      local stream = rshift((x[word] + start[word]) % WORD, (i - 1) % 4 * 8)
      out[at + i - 1] = string.char(bxor(text:byte(at + i - 1), band(stream, 255)))
    end
  end
  return table.concat(out)
end

-- SPEC 4. `epoch`: suite, k by role, h; it gets the generations that were needed so far. A garbled counter may ask for one
-- that is millions of steps away.
local MAX_STEPS = 256
local function generation_keys(epoch, role, generation)
  local made = epoch.made[role]
  if not made then
    made = { [0] = hmac(epoch.h, epoch.k[role]), last = 0 }
    epoch.made[role] = made
  end
  if generation - made.last > MAX_STEPS then return nil end
  for g = made.last, generation - 1 do made[g + 1] = expand(made[g], "wa-sidecar/1 ratchet", 32) end
  made.last = math.max(made.last, generation)
  local s = made[generation]
  return expand(s, "wa-sidecar/1 key" .. string.char(epoch.suite), 32), expand(s, "wa-sidecar/1 iv", 12)
end

local function decrypt(epoch, role, counter, ciphertext)
  if epoch.suite ~= 1 then return nil, "suite " .. epoch.suite end
  local key, iv = generation_keys(epoch, role, math.floor(counter / GENERATION))
  if not key then return nil, "a generation too far off" end
  local low, high = iv:sub(1, 4), words(iv, 5, 2)
  local nonce = low .. be32(bxor(high[1], math.floor(counter / WORD))) .. be32(bxor(high[2], counter % WORD))
  return chacha20(key, nonce, ciphertext)
end

-- The key log -------------------------------------------------------------------------------------------------------

-- By ephemeral of message 1, then epoch.
local keylog, keylog_error = {}, nil

local function unhex(hex, bytes)
  if #hex ~= 2 * bytes or hex:find("%X") then return nil end
  return (hex:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function read_keylog()
  keylog, keylog_error = {}, nil
  if prefs.keylog_file == "" then return end
  local file, failure = io.open(prefs.keylog_file)
  if not file then
    keylog_error = "key log: " .. failure
    return
  end
  local number = 0
  for line in file:lines() do
    number = number + 1
    if line:find("^WA_SIDECAR_EPOCH%s") then
      local e, epoch, suite, k_i, k_r, h = line:match("^%S+%s+(%x+)%s+(%d+)%s+(%d+)%s+(%x+)%s+(%x+)%s+(%x+)%s*$")
      local keys = e and { i = unhex(k_i, 32), r = unhex(k_r, 32) } or {}
      if e and unhex(e, 32) and keys.i and keys.r and unhex(h, 32) and tonumber(suite) < 256 then
        local link = keylog[unhex(e, 32)] or {}
        link[tonumber(epoch)] = { suite = tonumber(suite), k = keys, h = unhex(h, 32), made = {} }
        keylog[unhex(e, 32)] = link
      else
        keylog_error = "key log: line " .. number .. " is not one of WA_SIDECAR_EPOCH"
      end
    end
  end
  file:close()
end

-- What is known of each link ----------------------------------------------------------------------------------------

local links, verdicts, claims

function link_proto.init()
  links, verdicts, claims = {}, {}, {}
  read_keylog()
end

-- Who sends this, and between whom. Not by `tcp.stream`: fields of other protocols are missing from a first pass.
local function ends_of(pinfo)
  local from, to = tostring(pinfo.src) .. " " .. pinfo.src_port, tostring(pinfo.dst) .. " " .. pinfo.dst_port
  return from, from < to and from .. " " .. to or to .. " " .. from
end

-- The link, and its direction that this packet belongs to.
local function link_of(pinfo)
  local from, between = ends_of(pinfo)
  local link = links[between] or { ends = {} }
  links[between] = link
  local direction = link.ends[from] or { epoch = 0, rest = 0 }
  link.ends[from] = direction
  return link, direction
end

-- 512 bytes: version 1, an X25519 key (its top bit is 0), and as many different bytes as are in 511 random ones (221, give or
-- take 5), which text and the headers of other protocols have not.
local function looks_like_message(tvb)
  if tvb:reported_len() ~= MESSAGE_LEN or tvb:captured_len() ~= MESSAGE_LEN then return false end
  local bytes = tvb:raw()
  if bytes:byte(1) ~= 1 or bytes:byte(33) > 127 then return false end
  local seen, different = {}, 0
  for i = 2, MESSAGE_LEN do
    local byte = bytes:byte(i)
    if not seen[byte] then seen[byte], different = true, different + 1 end
  end
  return different > 190
end

local DIRECTIONS = { i = "initiator to responder", r = "responder to initiator" }
local SHORT = { i = "i>r ", r = "r>i " }

local function read_head(tvb, offset)
  local header = tvb(offset, HEADER_LEN)
  return {
    raw = header:raw(),
    length = header(0, 4):uint(),
    counter = header(4, 8):uint64():tonumber(),
    stamp = header(12, 8):uint64():tonumber(),
  }
end

-- Where the counter of a frame stands in its direction. A counter that falls back to 0 is a new epoch, unless it is frame 0 again.
local function judge(direction, head, arrival)
  local expected = direction.expected or (direction.handshake and 0 or head.counter)
  local status
  if head.counter == expected then
    status = "next"
  elseif head.counter == 0 and direction.first ~= head.raw then
    status = "rekey"
    direction.epoch = direction.epoch + 1
  elseif head.counter > expected then
    status = "gap"
  else
    status = "repeated"
  end
  if head.counter == 0 then direction.first = head.raw end
  if status ~= "repeated" then direction.expected = head.counter + 1 end
  if not direction.base then direction.base = { stamp = head.stamp, arrival = arrival } end
  local age = (arrival - direction.base.arrival) * 1000 - (head.stamp - direction.base.stamp)
  direction.lost, direction.stamp = false, head.stamp
  return {
    kind = "frame",
    status = status,
    expected = expected,
    epoch = direction.epoch,
    age = math.floor(age * 1000 + 0.5) / 1000,
  }
end

-- Behind a hole in the capture only a header that fits the last one is taken for one.
local function fits(direction, head)
  if head.length < MIN_LENGTH or head.length > MAX_LENGTH or head.counter >= COUNTER_END then return false end
  if not direction.lost or not direction.expected then return true end
  local near = math.abs(head.stamp - direction.stamp) < 3600 * 1000
  return near and (head.counter == 0 or head.counter >= direction.expected and head.counter < direction.expected + GENERATION)
end

-- What starts at `offset`: its `kind` is handshake, frame, rest (of a frame that cannot be put together), unknown, cut (too little
-- was captured), or wait for `missing` bytes.
local function decide(tvb, pinfo, offset, link, direction)
  local left, captured = tvb:reported_len() - offset, tvb:captured_len() - offset
  -- Whether more of the connection may be put together. What `-s` left out never comes.
  local waits = pinfo.can_desegment > 0 and captured == left

  if direction.rest > 0 then
    local size = math.min(direction.rest, left)
    direction.rest = direction.rest - size
    return { kind = "rest", size = size }
  end

  -- The length of a frame begins with 0, a handshake message with its version.
  local version = tvb(offset, 1):uint()
  if version ~= 0 then
    local started = direction.handshake or direction.expected
    if started and looks_like_message(tvb) then
      -- A new connection between the same ports.
      local from, between = ends_of(pinfo)
      direction = { epoch = 0, rest = 0 }
      link = { ends = { [from] = direction } }
      links[between] = pinfo.visited and links[between] or link
    elseif version ~= 1 or started then
      direction.lost = true
      return { kind = "unknown" }
    end
    if left < MESSAGE_LEN and waits then return { kind = "wait", missing = MESSAGE_LEN - left } end
    direction.handshake = true
    link.initiator = link.initiator or direction
    local role = link.initiator == direction and "i" or "r"
    if role == "i" and captured >= 33 then link.ephemeral = tvb(offset + 1, 32):raw() end
    return { kind = "handshake", role = role, message = role == "i" and 1 or 2 }
  end

  if captured < HEADER_LEN then
    direction.lost = not waits or direction.lost
    return waits and { kind = "wait", missing = DESEGMENT_ONE_MORE_SEGMENT } or { kind = "cut" }
  end
  local head = read_head(tvb, offset)
  if not fits(direction, head) then
    direction.lost = true
    return { kind = "unknown", out_of_range = head.length < MIN_LENGTH or head.length > MAX_LENGTH }
  end
  local missing = HEADER_LEN + head.length - left
  if missing > 0 and waits then return { kind = "wait", missing = missing } end
  direction.rest = math.max(missing, 0)
  local verdict = judge(direction, head, pinfo.abs_ts)
  verdict.ephemeral = link.ephemeral
  return verdict
end

-- The first pass decides, in order; Wireshark comes back to packets in any order.
local function verdict_of(tvb, pinfo, offset)
  local start = tvb(offset, math.min(HEADER_LEN, tvb:captured_len() - offset)):raw()
  local key = table.concat({ pinfo.number, tvb:reported_len(), offset, start }, ":")
  local verdict = verdicts[key]
  if verdict then return verdict end
  local link, direction = link_of(pinfo)
  if pinfo.visited then
    local known = { epoch = direction.epoch, base = direction.base, rest = 0 }
    verdict = decide(tvb, pinfo, offset, { initiator = link.initiator }, known)
  else
    verdict = decide(tvb, pinfo, offset, link, direction)
    verdicts[key] = verdict
  end
  verdict.role = verdict.role or link.initiator and (link.initiator == direction and "i" or "r")
  return verdict
end

-- Messages (SPEC 6) -------------------------------------------------------------------------------------------------

-- By type: fields with their sizes; "n" is as many bytes as F.n said.
local LAYOUTS = {
  { { F.id, 4 }, { F.n, 1 }, { F.service, "n" } },
  { { F.id, 4 }, { F.n, 4 }, { F.data, "n" } },
  { { F.id, 4 }, { F.limit, 8 } },
  { { F.id, 4 }, { F.limit, 8 } },
  { { F.id, 4 }, { F.offset, 8 } },
  { { F.id, 4 }, { F.code, 1 } },
  { { F.id, 4 }, { F.code, 1 } },
  { { F.token, 8 }, { F.clock, 8 } },
  { { F.token, 8 }, { F.clock, 8 } },
  { { F.noise, 48 } },
  { { F.status, 1 }, { F.noise, 48 } },
  {},
  { { F.goaway, 1 } },
}

-- The end of the message at `offset` of a plaintext and its name, or nothing if there is no whole one.
local function show_message(tvb, offset, tree)
  local kind = tvb(offset, 1):uint()
  local name, layout = TYPES[kind], LAYOUTS[kind]
  local item = tree:add(link_proto, tvb(offset), name or "Unknown type " .. kind)
  item:add(F.type, tvb(offset, 1))
  local at, n = offset + 1, 0
  for _, part in ipairs(layout or {}) do
    local field, size = part[1], part[2] == "n" and n or part[2]
    if at + size > tvb:len() then layout = nil break end
    if size > 0 then item:add(field, tvb(at, size)) end
    if field == F.n then n = tvb(at, size):uint() end
    if field == F.id then name = name .. "(" .. tvb(at, size):uint() .. ")" end
    at = at + size
  end
  if not layout then
    item:add_proto_expert_info(X.message)
    return nil
  end
  item:set_text(name)
  item:set_len(at - offset)
  return at, name
end

local function show_messages(plaintext, tree)
  local tvb = ByteArray.new(plaintext, true):tvb("Messages")
  local offset, names = 0, {}
  while offset and offset < tvb:len() do
    local after, name = show_message(tvb, offset, tree)
    offset, names[#names + 1] = after, name or "?"
  end
  return table.concat(names, " ")
end

-- Handshake messages and frames -------------------------------------------------------------------------------------

local function show_handshake(tvb, offset, tree, verdict, info)
  local whole = tvb(offset, math.min(MESSAGE_LEN, tvb:captured_len() - offset))
  local item = tree:add(link_proto, whole, "Handshake message " .. verdict.message)
  item:add(F.message, whole, verdict.message):set_generated()
  info[#info + 1] = "Message " .. verdict.message
  if whole:len() < MESSAGE_LEN then
    item:add_proto_expert_info(X.cut)
    return offset + MESSAGE_LEN
  end
  item:add(F.version, whole(0, 1))
  item:add(F.ephemeral, whole(1, 32))
  item:add(F.payload, whole(33, 463))
  item:add(F.payload_tag, whole(496, 16))
  if keylog_error then item:add_proto_expert_info(X.sealed, keylog_error) end
  return offset + MESSAGE_LEN
end

-- Text for the info column about what the keys show.
local function show_plaintext(range, head, item, verdict)
  local log = verdict.ephemeral and keylog[verdict.ephemeral]
  if not log then return "" end
  local epoch = log[verdict.epoch]
  local plaintext, failure = nil, "no key of epoch " .. verdict.epoch
  if epoch then plaintext, failure = decrypt(epoch, verdict.role, head.counter, range:raw()) end
  if not plaintext then
    item:add_proto_expert_info(X.sealed, "Not decrypted: " .. failure)
    return ""
  end
  local messages = item:add(link_proto, range, "Messages, decrypted without checking the tag")
  messages:set_generated()
  messages:add_proto_expert_info(X.unchecked)
  return " " .. show_messages(plaintext, messages)
end

local function show_frame(tvb, offset, tree, verdict, info)
  local head = read_head(tvb, offset)
  local size, captured = HEADER_LEN + head.length, tvb:captured_len() - offset
  local item = tree:add(F.frame, tvb(offset, math.min(size, captured)))
  local header = tvb(offset, HEADER_LEN)
  item:add(F.length, header(0, 4))
  local counter = item:add(F.counter, header(4, 8))
  item:add(F.stamp_ms, header(12, 8))
  local stamp
  if head.stamp < LAST_STAMP then
    local seconds = math.floor(head.stamp / 1000)
    stamp = item:add(F.stamp, header(12, 8), NSTime.new(seconds, head.stamp % 1000 * 1000000))
  else
    item:add_proto_expert_info(X.stamp)
  end
  item:add(F.size, header, size):set_generated()
  item:add(F.ciphertext_length, header, head.length - TAG_LEN):set_generated()
  item:add(F.expected, header, UInt64.new(verdict.expected % WORD, math.floor(verdict.expected / WORD))):set_generated()
  item:add(F.epoch, header, verdict.epoch):set_generated()
  item:add(F.generation, header, math.floor(head.counter / GENERATION)):set_generated()
  local age = item:add(F.age, header, verdict.age):set_generated()

  local text, note = string.format("Frame %.0f (%d)", head.counter, size), ""
  if verdict.status == "rekey" then
    note = string.format(" [new epoch: %d]", verdict.epoch)
    counter:add_proto_expert_info(X.rekey, string.format("New epoch (REKEY): %d", verdict.epoch))
  elseif verdict.status == "gap" then
    note = string.format(" [gap: %.0f expected]", verdict.expected)
    counter:add_proto_expert_info(X.gap, string.format("%.0f frames are missing before this one", head.counter - verdict.expected))
  elseif verdict.status == "repeated" then
    note = string.format(" [repeated: %.0f expected]", verdict.expected)
    counter:add_proto_expert_info(X.repeated, string.format("Counter repeated: %.0f expected", verdict.expected))
  end
  if math.abs(verdict.age) > LATE_MS and stamp then
    note = note .. string.format(" [age %.0f ms]", verdict.age)
    age:add_proto_expert_info(X.late)
  end
  if captured >= size then
    item:add(F.ciphertext, tvb(offset + HEADER_LEN, head.length - TAG_LEN))
    item:add(F.tag, tvb(offset + size - TAG_LEN, TAG_LEN))
    note = show_plaintext(tvb(offset + HEADER_LEN, head.length - TAG_LEN), head, item, verdict) .. note
  else
    item:add_proto_expert_info(X.cut)
  end
  item:set_text(text .. note)
  info[#info + 1] = text .. note
  return offset + size
end

local function show_rest(tvb, offset, tree, verdict, info)
  tree:add(F.rest, tvb(offset, math.min(verdict.size, tvb:captured_len() - offset)))
  info[#info + 1] = "(frame continued)"
  return offset + verdict.size
end

local function show_unknown(tvb, offset, tree, verdict, info)
  local why = verdict.kind == "cut" and X.cut or verdict.out_of_range and X.length or X.boundary
  tree:add(F.unknown, tvb(offset)):add_proto_expert_info(why)
  info[#info + 1] = "(unknown)"
  return tvb:captured_len()
end

-- By kind: each returns the offset behind what it has shown.
local SHOW = { handshake = show_handshake, frame = show_frame, rest = show_rest, unknown = show_unknown, cut = show_unknown }

function link_proto.dissector(tvb, pinfo, root)
  local tree, role, info, offset = nil, nil, {}, 0
  while offset < tvb:captured_len() do
    local verdict = verdict_of(tvb, pinfo, offset)
    if verdict.kind == "wait" then
      pinfo.desegment_offset, pinfo.desegment_len = offset, verdict.missing
      break
    end
    if not tree then
      tree, role = root:add(link_proto, tvb()), verdict.role
      if role then tree:add(F.direction, tvb(), DIRECTIONS[role]):set_generated() end
    end
    offset = SHOW[verdict.kind](tvb, offset, tree, verdict, info)
  end
  if tree then
    pinfo.cols.protocol = "wa-sidecar"
    pinfo.cols.info:clear()
    pinfo.cols.info:append((SHORT[role] or "") .. table.concat(info, ", ") .. " ")
    pinfo.cols.info:fence()
  end
  return tvb:captured_len()
end

-- Where links are found ---------------------------------------------------------------------------------------------

-- Message 1 as the very first of a connection; ports are used again.
local function claim(tvb, pinfo)
  local _, between = ends_of(pinfo)
  claims[between] = claims[between] or pinfo.number
  return (claims[between] == pinfo.number or links[between]) and looks_like_message(tvb)
end

link_proto:register_heuristic("tcp", function(tvb, pinfo, root)
  if not prefs.heuristic or not claim(tvb, pinfo) then return false end
  pinfo.conversation = link_proto
  link_proto.dissector(tvb, pinfo, root)
  return true
end)

local tcp_ports, registered = DissectorTable.get("tcp.port"), ""
tcp_ports:add_for_decode_as(link_proto)

local function apply_prefs()
  if prefs.ports ~= registered then
    if registered ~= "" then tcp_ports:remove(registered, link_proto) end
    if prefs.ports ~= "" then tcp_ports:add(prefs.ports, link_proto) end
    registered = prefs.ports
  end
  read_keylog()
end
link_proto.prefs_changed = apply_prefs
apply_prefs()
