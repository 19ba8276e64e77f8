// What was used of models: what the API says of it takes the place of what a budget has reserved,
// and gets into the log. Not part of the edition NGINX Plus, which has no njs.
//
// lab_budgets is lab/budgets.json, see budgets.py. Of the shared memory, lab_budget_counts holds
// what is used and reserved, by budget, limit, window and holder; lab_reservations, by a random id
// that only the API is told, what is not settled when the answer is over, or what the API has said
// before that.

// 12 34; <34 for at most so many, - for what nobody knows.
const SAID = /^(\d{1,12}|-) (<?\d{1,12}|<?-)$/;
const IN_HEAD = '-';  // for an API that has nowhere to settle: it says in its head what was used
const NOTHING = { read: 0, written: 0, cost: 0, keys: [] };

// What this request has reserved; each has a script of its own. One that goes on elsewhere, as from
// an error page, gets another script: so $lab_reserved says the same.
let held = null;

// --- Who is to settle it ---------------------------------------------------------------------

// $lab_ticket, a random id. A request that no budget has reserved anything for has one as well.
function ticket() {
    const bytes = new Uint8Array(16);
    crypto.getRandomValues(bytes);
    return Buffer.from(bytes.buffer).toString('hex');
}

function claimsOf(told) {
    const found = {};
    Object.keys(lab_budgets.claims).forEach((name) => {
        found[name] = told[lab_budgets.claims[name]];
    });
    return found;
}

// known: {read, written, cost, keys, units}: a unit for each key.
function hold(told, known) {
    held = known;
    const keys = known.keys;
    let text = known.read + ' ' + known.written + ' ' + known.cost;
    for (let at = 0; at < keys.length; at++) {
        text += '\n' + keys[at];
    }
    told.lab_reserved = text;
}

// --- Once it is over -------------------------------------------------------------------------

// $lab_added_up, which the log asks for first: 1 if the numbers behind it are what was used, 0 if
// they are what was reserved, or at most used. What becomes known later has a line of its own.
function settle(r) {
    const told = r.variables;
    if (!told.lab_reserved && !(told.upstream_addr && told.lab_settled_by)) {
        return '1';  // nothing was asked of a model
    }
    try {
        return settle_said(told) || settle_asked(told, told.lab_settled_by);
    } catch (error) {  // there is no memory left, say: what is reserved stands
        r.error(`a request is not settled: ${error.message}`);
        return stands(told, amounts(told));
    }
}

// As it is as a rule: of one that was asked, and has said it in its head. Nothing is parsed here.
function settle_said(told) {
    const said = held && told.lab_said_in;
    if (!said || told.lab_used_before) {
        return '';
    }
    const read = Number(said), written = Number(told.lab_said_out);
    const name = told.lab_log_deployment;
    const cost = costs(lab_budgets.models[name] || lab_budgets.unknown, read, written);
    charge(held, 0, read + written - held.read - held.written, cost - held.cost);
    const used = { read, written, cost, exact: true };
    noteTokens(told, name, used);
    return write(told, used, null);
}

function settle_asked(told, id) {
    let said = SAID.exec(told.upstream_http_x_usage || '');
    const untouched = !said
        && !(told.upstream_addr && /[1-9]/.test(told.upstream_bytes_sent || ''));
    said = untouched ? ['', '0', '0'] : said;
    let name = told.lab_log_deployment || told.lab_target;  // another one may have answered
    const known = amounts(told), before = usedBefore(told, known);
    if (!said) {
        // The API says it by itself, before or after this: who comes first leaves it to the other.
        const text = id === IN_HEAD ? '' : reserved(id, reservation(told, name, known));
        if (!text) {
            return stands(told, known, before);
        }
        const words = text.split(' ');
        said = ['', words[0], words[1]];
        name = lab_budgets.models[words[2]] ? words[2] : name;
    }
    return write(told, settled(known, said[1], said[2], name, untouched, told), before);
}

function stands(told, known, before) {
    return write(told, Object.assign({ exact: false }, known), before);
}

// $lab_used_before: what a provider has used that another deployment has then answered for. Its
// reservation is left to that one, so this is charged beside it.
function usedBefore(told, known) {
    const said = SAID.exec(told.lab_used_before || '');
    if (!said) {
        return null;
    }
    const name = told.lab_target;
    const used = amountOf(known, said[1], said[2], name);
    charge(known, 0, used.read + used.written, used.cost);
    noteTokens(told, name, used);
    return used;
}

// In one variable, as each of them takes its time.
function amounts(told) {
    if (held) {
        return held;
    }
    if (!told.lab_reserved) {
        return NOTHING;
    }
    const keys = told.lab_reserved.split('\n');
    const numbers = keys.shift().split(' ');
    return {
        read: Number(numbers[0]), written: Number(numbers[1]), cost: Number(numbers[2]), keys,
    };
}

function reservation(told, name, known) {
    return {
        request: told.lab_request_id, subject: told.lab_subject, route: told.lab_log_asked,
        deployment: name, claims: claimsOf(told), read: known.read, written: known.written,
        cost: known.cost, keys: known.keys,
    };
}

// What the API has said before this; "" if it has not.
function reserved(id, known) {
    return ngx.shared.lab_reservations.add(id, JSON.stringify(known)) ? '' : taken(id);
}

function write(told, used, before) {
    const also = before || NOTHING, cost = used.cost + also.cost;
    told.lab_read = used.read + also.read;
    told.lab_written = used.written + also.written;
    if (cost) {
        told.lab_cost = cost;
    }
    if (lab_budgets.claimed) {
        told.lab_claims = JSON.stringify(claimsOf(told));
    }
    return used.exact && (!before || before.exact) ? '1' : '0';
}

// Whoever takes something is the only one. njs 0.9.9 has a pop() that never finds anything where
// keys expire, so it is the deletion that one alone can succeed with.
function taken(id) {
    const kept = ngx.shared.lab_reservations;
    const text = kept.get(id);
    return text && kept.delete(id) ? text : '';
}

// Puts what was used in the place of what was reserved.
function settled(known, said_read, said_written, name, untouched, told) {
    const used = amountOf(known, said_read, said_written, name);
    charge(known, untouched ? -1 : 0, used.read + used.written - known.read - known.written,
        used.cost - known.cost);
    noteTokens(told, name, used);
    return used;
}

// What is said to have been used: what was reserved where nobody knows, and bounds what is only
// known not to be more.
function amountOf(known, said_read, said_written, name) {
    const read = said_read === '-' ? known.read : Number(said_read);
    const exact = said_read !== '-' && /^\d/.test(said_written);
    const most = Number(said_written.replace('<', ''));
    const written = said_written.endsWith('-') ? known.written
        : exact || !known.written ? most : Math.min(most, known.written);
    const model = lab_budgets.models[name] || lab_budgets.unknown;
    return { read, written, cost: costs(model, read, written), exact };
}

function charge(known, requests, tokens, money) {
    const keys = known.keys, units = known.units || keys.map(unitOf);
    const counts = ngx.shared.lab_budget_counts;
    for (let at = 0; at < keys.length; at++) {
        const unit = units[at];
        const amount = unit === 'tokens' ? tokens : unit === 'requests' ? requests : money;
        if (amount && counts.has(keys[at])) {  // its window may be over
            counts.incr(keys[at], amount);
        }
    }
}

function noteTokens(told, name, used) {
    if (ngx.shared.lab_counts && (used.read || used.written)) {
        const of = `tokens ${told.lab_log_asked || '-'} ${name || '-'}`;
        note(`${of} input`, used.read);
        note(`${of} output`, used.written);
    }
}

// POST /settlements?id=...&in=...&out=...&by=..., of an API on the gateway's own socket.
function late(r) {
    const said = SAID.exec(`${r.args.in} ${r.args.out}`);
    const id = String(r.args.id), by = String(r.args.by || '');
    if (!said || !/^[0-9a-f]{32}$/.test(id) || !/^[a-z0-9-]{0,63}$/.test(by)
        || r.method !== 'POST') {
        r.return(400);
        return;
    }
    if (ngx.shared.lab_reservations.add(id, `${said[1]} ${said[2]} ${by}`)) {
        r.return(204);  // whoever writes the line takes it from there
        return;
    }
    const kept = ngx.shared.lab_reservations.get(id);
    const text = kept && kept.startsWith('{') ? taken(id) : '';
    if (!text) {
        r.return(410);  // said already
        return;
    }
    // Its line is written, and says what was reserved: here is the difference.
    const known = JSON.parse(text);
    const name = lab_budgets.models[by] ? by : known.deployment;
    const used = settled(known, said[1], said[2], name, false, { lab_log_asked: known.route });
    r.variables.lab_late = JSON.stringify({
        at: Date.now() / 1000, settles: known.request, subject: known.subject, deployment: name,
        route: known.route, tokens_in: used.read - known.read,
        tokens_out: used.written - known.written, cost: used.cost - known.cost,
        settled: used.exact ? 1 : 0, claims: known.claims,
    });
    r.return(204);
}

// GET /counts: all that is counted, as NGINX's own state file has it. That is a second behind.
function counted(r) {
    const counts = ngx.shared.lab_budget_counts, now = Date.now(), state = {};
    counts.items(65536).forEach((item) => {
        const lasts = counts.ttl(item[0]);
        if (lasts > 0) {
            state[item[0]] = { value: item[1], expire: now + lasts };
        }
    });
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify(state));
}

// --- For both ---------------------------------------------------------------------------------

// Of a request that has said it all in its head, and is not settled by a script: see budgets.py.
function noteWhole(told) {
    if (lab_budgets.plain && told.lab_whole && told.lab_whole !== '0 0') {
        const words = told.lab_whole.split(' ');
        noteTokens(told, told.lab_log_deployment,
            { read: Number(words[0]), written: Number(words[1]) });
    }
}

// In millionths: a price is that of a million tokens.
function costs(model, read, written) {
    const input = model.input, output = model.output;
    return input || output ? Math.ceil(read * input + written * output) : 0;
}

// A key begins with a budget and one of its limits: tokens_per_day.
function unitOf(key) {
    const begin = key.indexOf(' ') + 1;
    return key.slice(begin, key.indexOf('_', begin));
}

// Beside the counts of counts.js, where there are any.
function note(key, amount) {
    if (ngx.shared.lab_counts) {
        ngx.shared.lab_counts.incr(key, amount === undefined ? 1 : amount, 0);
    }
}

export default { ticket, hold, settle, late, counted, costs, unitOf, note, noteWhole };
