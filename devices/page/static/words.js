// What a right says, in words.

const SLOTS = {
  "s.light i.boolean/slot/state": "switch",
  "s.light i.dimmer/slot/brightness": "dim",
  "s.switch i.boolean/slot/state": "press",
  "s.thermostat i.thermostat/slot/state": "set the temperatures of",
  "s.motion i.motion/slot/package": "report packages to",
  "s.notifier i.notifier/slot/note": "leave notes in",
};

const WHOLE = {
  "publish +/+/+/slot/+": "use everything",
  "subscribe +/+/+/signal/+": "see everything",
  "publish *": "command everything",
  "subscribe *": "hear everything",
};

export function rightWords(permission, pattern) {
  const whole = WHOLE[`${permission} ${pattern}`];
  if (whole) return whole;
  const [service, name, ...rest] = pattern.split("/");
  const end = rest.join("/");
  if (service.startsWith("s.") && name && !"+*".includes(name)) {
    if (permission === "publish") {
      if (SLOTS[`${service} ${end}`]) return `${SLOTS[`${service} ${end}`]} ${name}`;
      if (end === "+/slot/+" || end === "*") return `use ${name}`;
      if (end === "+/signal/+") return `report as ${name}`;
    }
    if (permission === "subscribe") {
      if (end === "+/signal/+" || end === "*") return `see ${name}`;
      if (end === "+/slot/+") return `take commands as ${name}`;
      if (rest[1] === "signal") return `hear ${name}`;
    }
  }
  return `${permission} ${pattern}`;
}

export function grantLines(grant) {
  const conditions = grant.conditions.length ? `, ${grant.conditions.join(", ")}` : "";
  const set = grant.permission_set ? `${grant.permission_set.slice(0, 8)}:` : "";
  return grant.permissions.map((permission) => {
    const said = set ? `${set}${permission} ${grant.pattern}` : rightWords(permission, grant.pattern);
    return said + conditions;
  });
}

export function edgeLines(edge) {
  return [...new Set(edge.grants.flatMap(grantLines))];
}

// A device's own right to speak for itself, which every home has and nobody asks about.
export function isOwn(edge) {
  return edge.grants.some((grant) => grant.permissions.includes("publish") && grant.pattern.endsWith("/+/signal/+"));
}
