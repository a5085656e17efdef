-- Sends the prepared requests of the file REQUESTS by turns, each behind its length (uint32, little-endian), and prints one JSON line.

local requests, last = {}, 0

function init()
  local file = assert(io.open(os.getenv("REQUESTS"), "rb"))
  local data = file:read("*a")
  file:close()
  local at = 1
  while at <= #data do
    local a, b, c, d = data:byte(at, at + 3)
    local size = a + b * 256 + c * 65536 + d * 16777216
    requests[#requests + 1] = data:sub(at + 4, at + 3 + size)
    at = at + 4 + size
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50":%.1f,"p90":%.1f,"p99":%.1f}\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99)
  ))
end
