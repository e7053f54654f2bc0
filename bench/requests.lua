-- Makes each request from a template and tells the result as one line of JSON.
-- Arguments: file of the template ("-" for none), first moment (seconds), number of jobs.
local template, moment, jobs, count

function init(args)
  moment, jobs, count = tonumber(args[2]), tonumber(args[3]), 0
  if args[1] ~= "-" then
    local file = assert(io.open(args[1], "rb"))
    template = file:read("*a")
    file:close()
  end
end

function request()
  if not template then return wrk.format() end
  count = count + 1
  local values = {
    BEGIN = os.date("!%Y-%m-%dT%H:%M:%SZ", moment + count - 60),
    END = os.date("!%Y-%m-%dT%H:%M:%SZ", moment + count),
    JOB = tostring(count % jobs),
    INTERVAL = count % 2 == 0 and "20min" or "30min",
  }
  return wrk.format(nil, nil, nil, (template:gsub("@(%u+)@", values)))
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), failed.status,
    failed.connect + failed.read + failed.write + failed.timeout))
end
