// What requests may use (budgets of lab.toml) and what they have used. A request that asks a model
// reserves the most that it may take before the model is asked; what the API then says that it
// took is settled in its place. Not part of the edition NGINX Plus, which has no njs.
//
// lab_budgets is lab/budgets.json, see budgets.py. Of the shared memory, lab_budget_counts holds
// what is used and reserved, by budget, limit, window and holder; lab_reservations, by a random id
// that only the API is told, what is not settled when the answer is over, or what the API has said
// before that.

// A larger body is not read as JSON, see openai.js.
const SMALL = 65536;
// A token of English has some 4 letters, of code 3; of other scripts, 2 bytes or more, and digits
// may have one each. What is underestimated here is put right when it is settled.
const BYTES_A_TOKEN = 3;
// A picture in a message, whatever its bytes: what the largest providers count for a large one.
const PICTURE = /"data:image\/[^"]*"/g;
const A_PICTURE = 4500;  // bytes
const MOST_TOKENS = /"max_(?:completion_|new_)?(?:tokens|length)"[ \t\r\n]*:[ \t\r\n]*(\d{1,9})/g;
const CHOICES = 128;  // more than that, the API refuses
const READS = ['GET', 'HEAD', 'OPTIONS'];
const PATIENT = 60;  // seconds; clients of OpenAI's do not wait longer
// 12 34; <34 for at most so many, - for what nobody knows.
const NOTHING = { read: 0, written: 0, cost: 0, keys: [] };
const SAID = /^(\d{1,12}|-) (<?\d{1,12}|<?-)$/;

// --- Before the model is asked ----------------------------------------------------------

// An exception in here is a 500: nobody is let through uncounted.
function admit(r) {
    if (r.variables.lab_reserved || !asks(r)) {
        return;
    }
    const text = r.requestText;  // there is one already where openai.js has looked at it
    if (text === undefined) {
        read_first(r);
    } else {
        decide(r, text);
    }
}

async function read_first(r) {
    decide(r, await r.readRequestText());
}

function decide(r, text) {
    const told = r.variables;
    const model = lab_budgets.models[told.lab_target] || lab_budgets.unknown;
    const read = tokensOf(text);
    const written = mostWritten(text, r.uri, model);
    const wanted = { requests: 1, tokens: read + written, money: costs(model, read, written) };
    const keys = [];
    const left = {};
    const over = reserve(told, wanted, keys, left);
    if (over) {
        const counts = ngx.shared.lab_budget_counts;
        keys.forEach((key) => { counts.incr(key, -wanted[unitOf(key)]); });
        refuse(r, over, wanted);
        return;
    }
    if (left.requests) {
        tell(told, 'requests', left.requests);
    }
    if (left.tokens) {
        tell(told, 'tokens', left.tokens);
    }
    told.lab_reserved = `${read} ${written} ${wanted.money}`;
    told.lab_keys = keys.join('\n');
}

function asks(r) {
    // The lab's own questions come by a socket of its own, and count for nobody.
    return READS.indexOf(r.method) < 0 && r.remoteAddress !== 'unix:';
}

// Counted first, then looked at: of requests that come at once, those that go beyond a limit are
// taken back, and no two of them take the same room. One that would fit may meet another one's
// count that is about to be taken back, and be refused with it.
function reserve(told, wanted, keys, left) {
    const counts = ngx.shared.lab_budget_counts;
    const now = Date.now();
    for (let at = 0; at < lab_budgets.budgets.length; at++) {
        const budget = lab_budgets.budgets[at];
        const holder = told[budget.variable];
        if (budget.who.length && !among(budget.who, holder)) {
            continue;
        }
        for (let which = 0; which < budget.limits.length; which++) {
            const limit = budget.limits[which];
            const time = windowOf(limit.window, now);
            const key = `${budget.name} ${limit.key} ${time.begins} ${holder}`;
            const lasts = time.ends - now + lab_budgets.keeps;
            const used = counts.incr(key, wanted[limit.unit], 0, lasts);
            const fits = used <= limit.most;
            keys.push(key);
            if (!fits) {
                note(`over ${budget.name} ${limit.key} ${budget.shadow ? 1 : 0}`);
                told.lab_over = `${budget.name} ${limit.key}`;
                if (!budget.shadow) {
                    return { budget, limit, time, now, used: used - wanted[limit.unit] };
                }
            }
            const room = { most: limit.most, left: limit.most - used, resets: time.ends - now };
            if (!budget.shadow && limit.unit !== 'money'
                && (!left[limit.unit] || room.left < left[limit.unit].left)) {
                left[limit.unit] = room;
            }
        }
    }
    return null;
}

// A key begins with a budget and one of its limits: tokens_per_day.
function unitOf(key) {
    const begin = key.indexOf(' ') + 1;
    return key.slice(begin, key.indexOf('_', begin));
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

// Fixed windows of UTC: each begins with nothing used.
function windowOf(name, now) {
    if (name === 'month') {
        const date = new Date(now);
        const year = date.getUTCFullYear(), month = date.getUTCMonth();
        return { begins: Date.UTC(year, month, 1), ends: Date.UTC(year, month + 1, 1) };
    }
    const long = name === 'day' ? 86400000 : 60000;
    const begins = now - now % long;
    return { begins, ends: begins + long };
}

function refuse(r, over, wanted) {
    const told = r.variables, limit = over.limit;
    const amount = wanted[limit.unit], never = amount > limit.most;
    const seconds = Math.max(1, Math.ceil((over.time.ends - over.now) / 1000));
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
    if (limit.unit !== 'money') {
        tell(told, limit.unit, {
            most: limit.most, left: limit.most - over.used, resets: over.time.ends - over.now,
        });
    }
    r.return(429);
}

function tell(told, unit, room) {
    told[`lab_limit_${unit}`] = room.most;
    told[`lab_left_${unit}`] = Math.max(0, room.left);
    told[`lab_reset_${unit}`] = duration(room.resets);
}

// As OpenAI's API spells it: 6m0s, 1s, 20ms.
function duration(milliseconds) {
    if (milliseconds < 1000) {
        return `${milliseconds}ms`;
    }
    const seconds = Math.ceil(milliseconds / 1000);
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return (hours ? `${hours}h` : '') + (seconds >= 60 ? `${minutes}m` : '') + `${seconds % 60}s`;
}

// --- What a request may take ----------------------------------------------------------------

// The whole body: what JSON and its names add is what a template says around each message.
function tokensOf(text) {
    let bytes = Buffer.byteLength(text);
    if (text.indexOf('"data:image/') >= 0) {
        (text.match(PICTURE) || []).forEach((one) => { bytes += A_PICTURE - one.length; });
    }
    return Math.ceil(bytes / BYTES_A_TOKEN);
}

function mostWritten(text, uri, model) {
    if (uri.endsWith('/embeddings')) {
        return 0;
    }
    const most = uri.indexOf('/v1/') >= 0 ? model.writes : model.summary;
    let said;
    try {
        said = text.length <= SMALL ? JSON.parse(text) : undefined;
    } catch (error) {
        return most;  // what is wrong with such a body, the API says
    }
    if (said === undefined) {
        // Which of them is the request's own is not known: the most of them all.
        let largest = most;
        (text.match(MOST_TOKENS) || []).forEach((one) => {
            largest = Math.max(largest, Number(one.slice(one.indexOf(':') + 1)));
        });
        return bounded(largest, model);
    }
    if (said === null || typeof said !== 'object') {
        return most;
    }
    const more = said.parameters || {};
    const asked = [said.max_completion_tokens, said.max_tokens, said.max_length,
        more.max_length, more.max_new_tokens].find(whole);
    const prompts = [said.prompt, said.inputs].find(Array.isArray);
    const texts = prompts && typeof prompts[0] !== 'number' ? prompts.length : 1;
    const choices = whole(said.n) ? Math.min(said.n, CHOICES) : 1;
    return bounded(asked || most, model) * choices * Math.max(1, texts);
}

function bounded(tokens, model) {
    return model.context ? Math.min(tokens, model.context) : tokens;
}

function whole(value) {
    return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 1e9;
}

// In millionths: a price is that of a million tokens.
function costs(model, read, written) {
    return Math.ceil(read * model.input + written * model.output);
}

// --- Who is to settle it ----------------------------------------------------------------------

// $lab_settlement, a header for the API: the id by which it says what was used. A request that no
// budget has reserved anything for has one as well, for the log.
function ticket(r) {
    if (!r.variables.lab_ticket && asks(r)) {
        const bytes = new Uint8Array(16);
        crypto.getRandomValues(bytes);
        r.variables.lab_ticket = Buffer.from(bytes.buffer).toString('hex');
    }
    return r.variables.lab_ticket;
}

function claimsOf(told) {
    const found = {};
    Object.keys(lab_budgets.claims).forEach((name) => {
        found[name] = told[lab_budgets.claims[name]];
    });
    return found;
}

// --- Once it is over ------------------------------------------------------------------------------

// $lab_settled, which the log asks for first: 1 if the numbers behind it are what was used, 0 if
// they are what was reserved, or at most used. What becomes known later has a line of its own.
function settle(r) {
    const told = r.variables, id = told.lab_ticket;
    if (!id && !told.lab_reserved) {
        return '1';  // nothing was asked of a model
    }
    const untouched = !told.upstream_addr || !/[1-9]/.test(told.upstream_bytes_sent || '');
    let said = untouched ? ['', '0', '0'] : SAID.exec(told.upstream_http_x_usage || '');
    let name = told.lab_log_deployment || told.lab_target;
    if (!said) {
        // The API says it by itself, before or after this: who comes first leaves it to the other.
        const known = reservation(told, name);
        if (ngx.shared.lab_reservations.add(id, JSON.stringify(known))) {
            return write(told, {
                read: known.read, written: known.written, cost: known.cost, exact: false,
            });
        }
        const words = taken(id).split(' ');
        said = ['', words[0], words[1]];
        name = lab_budgets.models[words[2]] ? words[2] : name;
    }
    const known = told.lab_reserved ? reservation(told, name) : NOTHING;
    return write(told, settled(known, said[1], said[2], name, untouched, told.lab_log_asked));
}

function reservation(told, name) {
    const amounts = (told.lab_reserved || '0 0 0').split(' ');
    return {
        request: told.lab_request_id, subject: told.lab_subject, route: told.lab_log_asked,
        deployment: name, claims: claimsOf(told), read: Number(amounts[0]),
        written: Number(amounts[1]), cost: Number(amounts[2]),
        keys: told.lab_keys ? told.lab_keys.split('\n') : [],
    };
}

function write(told, used) {
    told.lab_tokens_in = used.read;
    told.lab_tokens_out = used.written;
    if (used.cost) {
        told.lab_cost = used.cost;
    }
    if (lab_budgets.claimed) {
        told.lab_claims = JSON.stringify(claimsOf(told));
    }
    return used.exact ? '1' : '0';
}

// Whoever takes something is the only one. njs 0.9.9 has a pop() that never finds anything where
// keys expire, so it is the deletion that one alone can succeed with.
function taken(id) {
    const kept = ngx.shared.lab_reservations;
    const text = kept.get(id);
    return text && kept.delete(id) ? text : '';
}

// Puts what was used in the place of what was reserved. That stands where nobody knows, and bounds
// what is only known not to be more.
function settled(known, said_read, said_written, name, untouched, route) {
    const read = said_read === '-' ? known.read : Number(said_read);
    const exact = said_read !== '-' && /^\d/.test(said_written);
    const most = Number(said_written.replace('<', ''));
    const written = said_written.endsWith('-') ? known.written
        : exact || !known.written ? most : Math.min(most, known.written);
    const model = lab_budgets.models[name] || lab_budgets.unknown;
    const cost = costs(model, read, written);
    if (known.keys.length) {
        const more = {
            requests: untouched ? -1 : 0, tokens: read + written - known.read - known.written,
            money: cost - known.cost,
        };
        const counts = ngx.shared.lab_budget_counts;
        known.keys.forEach((key) => {
            const amount = more[unitOf(key)];
            if (amount && counts.has(key)) {  // its window may be over, and forgotten
                counts.incr(key, amount);
            }
        });
    }
    if (read || written) {
        note(`tokens ${route || '-'} ${name || '-'} input`, read);
        note(`tokens ${route || '-'} ${name || '-'} output`, written);
    }
    return { read, written, cost, exact };
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
    const used = settled(known, said[1], said[2], name, false, known.route);
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

// --- For metrics --------------------------------------------------------------------------------

// Beside the counts of counts.js, where there are any.
function note(key, amount) {
    if (ngx.shared.lab_counts) {
        ngx.shared.lab_counts.incr(key, amount === undefined ? 1 : amount, 0);
    }
}

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
            places[`${budget.name} ${limit.key} ${windowOf(limit.window, now).begins}`] = labels;
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
                held[labels] += amounts[unitOf(key)];
            }
        });
    });
    return gauge('llmlab_budget_limit', 'The most that each may use; money in millionths.', limits)
        + gauge('llmlab_budget_used', 'By whoever uses most, reservations included.', used)
        + gauge('llmlab_budget_reserved', 'Of answers that are over and not settled.', held);
}

function gauge(name, help, values) {
    const lines = Object.keys(values).sort().map((labels) => `${name}{${labels}} ${values[labels]}\n`);
    return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n` + lines.join('');
}

export default { admit, ticket, settle, late, counted, page };
