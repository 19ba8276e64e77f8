// What requests may use (budgets of lab.toml) and what they have used. A request that asks a model
// reserves the most that it may take before the model is asked; what the API then says that it
// took is settled in its place. Not part of the edition NGINX Plus, which has no njs.
//
// What is kept where, usage.js says.

import crypto from 'crypto';
import asking from 'lab/asking.js';
import usage from 'lab/usage.js';

const LONGEST_HOLDER = 128;
const PATIENT = 60;  // seconds; clients of OpenAI's do not wait longer

// --- Before the model is asked ----------------------------------------------------------

// An exception in here is a 500: nobody is let through uncounted.
function admit(r) {
    const told = r.variables;
    if (told.lab_reserved || !told.lab_settled_by) {
        return;
    }
    const said = told.lab_stated;
    if (said) {
        decide(r, told, asking.restated(said));
        return;
    }
    const body = r.readRequestArrayBuffer();  // at once where somebody has read it before
    if (body.then) {
        return body.then((read) => { decide(r, told, asking.said(r, told, read)); });
    }
    decide(r, told, asking.said(r, told, body));
}

function decide(r, told, said) {
    const model = lab_budgets.models[told.lab_target] || lab_budgets.unknown;
    const most = asking.most(told, said, r.uri, model), read = most.read, written = most.written;
    reserve(r, told, { read, written, cost: usage.costs(model, read, written), keys: [], units: [] });
}

// Counted first, then looked at: of requests that come at once, those that go beyond a limit are
// taken back, and no two of them take the same room. One that would fit may meet another one's
// count that is about to be taken back, and be refused with it.
function reserve(r, told, held) {
    const counts = ngx.shared.lab_budget_counts, now = Date.now(), keeps = lab_budgets.keeps;
    const budgets = lab_budgets.budgets, tokens = held.read + held.written;
    const keys = held.keys, units = held.units;
    let tightest = null, fewest = null;  // of tokens, of requests
    for (let at = 0; at < budgets.length; at++) {
        const budget = budgets[at], who = budget.who;
        const holder = told[budget.variable];  // as it is: for a key it is spelled
        if (who.length && !among(who, holder)) {
            continue;
        }
        const limits = budget.limits, shadow = budget.shadow, word = spelledOut(holder);
        for (let which = 0; which < limits.length; which++) {
            const limit = limits[which], unit = limit.unit, most = limit.most, long = limit.long;
            const amount = unit === 'tokens' ? tokens : unit === 'requests' ? 1 : held.cost;
            const begins = long ? now - now % long : monthOf(now, 0);
            const resets = (long ? begins + long : monthOf(now, 1)) - now;
            const key = limit.begin + begins + word;
            let used = 0;
            try {
                used = counts.incr(key, amount, 0, resets + keeps);
            } catch (error) {
                release(counts, held);
                refuseForMemory(r, error);
                return;
            }
            units[keys.length] = unit;
            keys[keys.length] = key;
            const room = most - used;
            if (room < 0) {
                usage.note(`over ${budget.name} ${limit.key} ${shadow ? 1 : 0}`);
                told.lab_over = `${budget.name} ${limit.key}`;
                if (!shadow) {
                    release(counts, held);
                    refuse(r, { budget, limit, resets, used: used - amount }, amount);
                    return;
                }
            }
            if (shadow) {
                continue;
            }
            if (unit === 'tokens') {
                tightest = tightest && tightest.left <= room ? tightest : { most, left: room, resets };
            } else if (unit === 'requests') {
                fewest = fewest && fewest.left <= room ? fewest : { most, left: room, resets };
            }
        }
    }
    if (fewest) {
        tellRequests(told, fewest);
    }
    if (tightest) {
        tellTokens(told, tightest);
    }
    usage.hold(told, held);
}

// In one word behind a space, and of a bounded length, whatever a claim holds: keys are told apart by line ends.
function spelledOut(holder) {
    const word = encodeURIComponent(holder);
    return word.length <= LONGEST_HOLDER ? ` ${word}`
        : ` sha256:${crypto.createHash('sha256').update(holder).digest('hex')}`;
}

function release(counts, held) {
    const amounts = { requests: 1, tokens: held.read + held.written, money: held.cost };
    held.keys.forEach((key, at) => { counts.incr(key, -amounts[held.units[at]]); });
}

// There is none left for one count more: whoever has one already goes on.
function refuseForMemory(r, error) {
    r.error(`budgets: the memory for counts is full, so whoever has none is refused: ${error.message}`);
    r.variables.lab_over_why = 'The gateway has no memory left to count what this token uses; '
        + 'try again in 1 s.';
    r.return(503);
}

// What is preloaded has no methods.
function among(list, value) {
    for (let at = 0; at < list.length; at++) {
        if (list[at] === value) {
            return true;
        }
    }
    return false;
}

// Fixed windows of UTC: each begins with nothing used. A day and a minute are as long as the others.
function monthOf(now, later) {
    const date = new Date(now);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + later, 1);
}

function refuse(r, over, amount) {
    const told = r.variables, limit = over.limit;
    const never = amount > limit.most;
    const seconds = Math.max(1, Math.ceil(over.resets / 1000));
    const unit = limit.unit === 'money' ? `millionths of ${over.budget.currency || 'money'}`
        : limit.unit;
    told.lab_over_why = `The budget ${over.budget.name} (${limit.key}) has no room for this `
        + `request: limit ${limit.most}, used ${Math.max(0, over.used)}, this one up to ${amount} `
        + `${unit}. `
        + (never ? 'It would not fit at any time: ask for less, by max_tokens or a shorter text.'
            : `Try again in ${seconds} s.`);
    told.lab_over_after = never ? '' : seconds;
    told.lab_over_last = never || seconds > PATIENT ? 'last' : '';
    told.lab_over_kind = limit.unit === 'money' ? 'insufficient_quota' : limit.unit;
    const room = { most: limit.most, left: limit.most - over.used, resets: over.resets };
    if (limit.unit === 'tokens') {
        tellTokens(told, room);
    } else if (limit.unit === 'requests') {
        tellRequests(told, room);
    }
    r.return(429);
}

// One function each: names that are put together are four times as dear.
function tellTokens(told, room) {
    told.lab_limit_tokens = room.most;
    told.lab_left_tokens = room.left > 0 ? room.left : 0;
    told.lab_reset_tokens = duration(room.resets);
}

function tellRequests(told, room) {
    told.lab_limit_requests = room.most;
    told.lab_left_requests = room.left > 0 ? room.left : 0;
    told.lab_reset_requests = duration(room.resets);
}

// As OpenAI's API spells it: 6m0s, 1s, 20ms. Texts are joined by +, which costs a fifth of a template.
function duration(milliseconds) {
    if (milliseconds < 1000) {
        return milliseconds + 'ms';
    }
    const seconds = Math.ceil(milliseconds / 1000);
    if (seconds < 60) {
        return seconds + 's';
    }
    const minutes = (seconds - seconds % 60) / 60, rest = minutes % 60 + 'm' + seconds % 60 + 's';
    return minutes < 60 ? rest : (minutes - minutes % 60) / 60 + 'h' + rest;
}

// --- For metrics --------------------------------------------------------------------------------

// Of each limit: the most of it, and what whoever has used the most of it has used and reserved in
// this window. All holders would be too many.
function page() {
    const now = Date.now(), limits = {}, used = {}, held = {};
    const places = {};  // what keys begin with -> labels
    for (let at = 0; at < lab_budgets.budgets.length; at++) {
        const budget = lab_budgets.budgets[at];
        for (let which = 0; which < budget.limits.length; which++) {
            const limit = budget.limits[which];
            const labels = `budget="${budget.name}",limit="${limit.key}"`;
            places[limit.begin + (limit.long ? now - now % limit.long : monthOf(now, 0))] = labels;
            limits[labels] = limit.most;
            used[labels] = held[labels] = 0;
        }
    }
    if (!Object.keys(limits).length) {
        return '';
    }
    ngx.shared.lab_budget_counts.items(65536).forEach((item) => {
        const labels = places[item[0].split(' ', 3).join(' ')];
        if (labels) {
            used[labels] = Math.max(used[labels], item[1]);
        }
    });
    ngx.shared.lab_reservations.items(65536).forEach((item) => {
        if (!item[1].startsWith('{')) {
            return;
        }
        const known = JSON.parse(item[1]);
        const amounts = { requests: 1, tokens: known.read + known.written, money: known.cost };
        known.keys.forEach((key) => {
            const labels = places[key.split(' ', 3).join(' ')];
            if (labels) {
                held[labels] += amounts[usage.unitOf(key)];
            }
        });
    });
    return gauge('llmlab_budget_limit', 'The most that each may use; money in millionths.', limits)
        + gauge('llmlab_budget_used', 'By whoever uses most, reservations included.', used)
        + gauge('llmlab_budget_reserved', 'Of answers that are over and not settled.', held);
}

function gauge(name, help, values) {
    const lines = Object.keys(values).sort().map((labels) =>
        `${name}{${labels}} ${values[labels]}\n`);
    return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n` + lines.join('');
}

export default { admit, page };
