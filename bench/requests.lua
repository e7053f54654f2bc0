-- Makes each request from a template and tells the result as one line of JSON.
-- Arguments: file of the template ("-" for none), first moment (seconds), number of jobs, jobs of a server,
-- milliseconds to wait before each request.
local template, moment, jobs, of_server, pause, first, count

function init(args)
  moment, jobs, of_server, pause = tonumber(args[2]), tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  first = moment % 1000003
  count = first
  if args[1] ~= "-" then
    local file = assert(io.open(args[1], "rb"))
    template = file:read("*a")
    file:close()
  end
end

function delay()
  return pause
end

function request()
  if not template then return wrk.format() end
  count = count + 1
  -- The step has no factor in common with the numbers of jobs, so that all of them have their turn.
  local job = count * 7919 % jobs + 1
  local ended = moment + math.floor((count - first) / jobs)
  local values = {
    BEGIN = os.date("!%Y-%m-%dT%H:%M:%SZ", ended - 60),
    END = os.date("!%Y-%m-%dT%H:%M:%SZ", ended),
    JOB = string.format("%d", job),
    SERVER = string.format("%d", math.floor((job - 1) / of_server) + 1),
    INTERVAL = count % 2 == 0 and "20min" or "30min",
  }
  return wrk.format(nil, nil, nil, (template:gsub("@(%u+)@", values)))
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "longest": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency.max, failed.status,
    failed.connect + failed.read + failed.write + failed.timeout))
end
