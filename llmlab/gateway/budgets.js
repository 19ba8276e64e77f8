// What requests may use (budgets of lab.toml) and what they have used. A request that asks a model
// reserves the most that it may take before the model is asked; what the API then says that it
// took is settled in its place. Not part of the edition NGINX Plus, which has no njs.
//
// What is kept where, usage.js says.

import crypto from 'crypto';
import usage from 'lab/usage.js';

// A larger body is not read as JSON, see openai.js.
const SMALL = 65536;
// By the tokenizer of SmolLM2, a token has 4.5 bytes of English, 4.0 of code, 2.6 of German, 2.3 of
// Russian, 1.6 of Chinese and 1.0 of digits; larger models' take more. What is underestimated here
// is put right when it is settled.
const BYTES_A_TOKEN = 3;
// A picture in a message, whatever its bytes: what the largest providers count for a large one.
const PICTURE = Buffer.from('"data:image/'), QUOTE = Buffer.from('"');
const BEFORE = /"url"[ \t\r\n]*:[ \t\r\n]*(?![^])/;  // $ would match before a line end as well
const A_PICTURE = 4500;  // bytes
const LIMITS = ['max_tokens', 'max_completion_tokens', 'max_length', 'max_new_tokens'];
const LARGEST = 2147483647;  // as the API takes it
// So often something is looked for in a body. What a worker does for one, all others wait for.
const OFTEN = 100;
const NUMBER = /^[ \t\r\n]*:[ \t\r\n]*(\d{1,10})/;
const LONGEST_HOLDER = 128;
const PATIENT = 60;  // seconds; clients of OpenAI's do not wait longer

// --- Before the model is asked ----------------------------------------------------------

// An exception in here is a 500: nobody is let through uncounted.
function admit(r) {
    const told = r.variables;
    if (told.lab_reserved || !told.lab_settled_by) {
        return;
    }
    const text = r.requestText;  // there is one already where openai.js has looked at it
    if (text === undefined) {
        return read_first(r);
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
    const most = estimated(text, r.uri, model);
    const read = most.read, written = most.written;
    const money = usage.costs(model, read, written);
    const wanted = { requests: 1, tokens: read + written, money };
    const keys = [];
    const left = {};
    const over = reserve(told, wanted, keys, left);
    if (over) {
        const counts = ngx.shared.lab_budget_counts;
        keys.forEach((key) => { counts.incr(key, -wanted[usage.unitOf(key)]); });
        if (over.full) {
            refuseForMemory(r, over.full);
        } else {
            refuse(r, over, wanted);
        }
        return;
    }
    if (left.requests) {
        tell(told, 'requests', left.requests);
    }
    if (left.tokens) {
        tell(told, 'tokens', left.tokens);
    }
    told.lab_reserved = `${read} ${written} ${money}\n${keys.join('\n')}`;
}

// Counted first, then looked at: of requests that come at once, those that go beyond a limit are
// taken back, and no two of them take the same room. One that would fit may meet another one's
// count that is about to be taken back, and be refused with it.
function reserve(told, wanted, keys, left) {
    const counts = ngx.shared.lab_budget_counts;
    const now = Date.now();
    for (let at = 0; at < lab_budgets.budgets.length; at++) {
        const budget = lab_budgets.budgets[at];
        const holder = told[budget.variable];  // as it is: for a key it is spelled
        if (budget.who.length && !among(budget.who, holder)) {
            continue;
        }
        for (let which = 0; which < budget.limits.length; which++) {
            const limit = budget.limits[which];
            const time = windowOf(limit.window, now);
            const key = `${budget.name} ${limit.key} ${time.begins} ${spelledOut(holder)}`;
            const lasts = time.ends - now + lab_budgets.keeps;
            let used;
            try {
                used = counts.incr(key, wanted[limit.unit], 0, lasts);
            } catch (error) {
                return { full: error };
            }
            const fits = used <= limit.most;
            keys.push(key);
            if (!fits) {
                usage.note(`over ${budget.name} ${limit.key} ${budget.shadow ? 1 : 0}`);
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

// In one word and of a bounded length, whatever a claim holds: keys are told apart by line ends.
function spelledOut(holder) {
    const word = encodeURIComponent(holder);
    return word.length <= LONGEST_HOLDER ? word
        : `sha256:${crypto.createHash('sha256').update(holder).digest('hex')}`;
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
function tokensOf(body) {
    let bytes = body.length;
    let at = body.indexOf(PICTURE);
    for (let times = 0; at >= 0 && times < OFTEN; times++) {
        const end = body.indexOf(QUOTE, at + PICTURE.length);
        if (end < 0) {
            break;
        }
        if (BEFORE.test(body.subarray(Math.max(0, at - 32), at).toString())) {
            bytes += Math.min(0, A_PICTURE - (end - at));
        }
        at = body.indexOf(PICTURE, end);
    }
    return Math.ceil(bytes / BYTES_A_TOKEN);
}

// {read, written}: tokens. A text that is summarized window by window is read once and a half, and
// again as the summaries of its windows, which are a third of it: see reader.py.
function estimated(text, uri, model) {
    const body = Buffer.from(text);
    const read = tokensOf(body);
    const chat = uri.indexOf('/v1/') >= 0;
    const written = uri.endsWith('/embeddings') ? 0 : mostWritten(text, body, uri, chat, model);
    const windows = model.window && read > model.window && (!chat || model.summarizes);
    return windows ? { read: 2 * read, written: written + Math.ceil(read / 2) } : { read, written };
}

function mostWritten(text, body, uri, chat, model) {
    const most = chat ? model.writes : model.summary;
    let said;
    try {
        said = text.length <= SMALL ? JSON.parse(text) : undefined;
    } catch (error) {
        // Nested too deep for here, in another encoding, or nothing that the API takes.
    }
    if (said === undefined) {
        return mostUnread(text, body, uri, chat, model);
    }
    if (said === null || typeof said !== 'object') {
        return most;
    }
    const asked = stated(said, uri, chat).filter(whole);
    const each = bounded(asked.length ? Math.max.apply(null, asked) : most, model);
    return each * answers(said, uri, chat);
}

// How many of them: what is beyond the API's bounds, it refuses.
function answers(said, uri, chat) {
    const many = chat ? said.prompt : said.inputs, bounds = lab_budgets.most;
    const several = Array.isArray(many) && typeof many[0] !== 'number' ? many.length : 1;
    if (!chat) {
        return Math.min(Math.max(1, several), bounds.texts);
    }
    const choices = whole(said.n) ? Math.min(said.n, bounds.choices) : 1;
    return uri.endsWith('/chat/completions') ? choices
        : Math.min(choices * Math.max(1, several), bounds.answers);
}

// Of a body that is not read as JSON: which of the fields in it are the request's own is not known,
// so it is the most that any of them says, and of prompts and texts as many as the API takes.
function mostUnread(text, body, uri, chat, model) {
    const bounds = lab_budgets.most;
    if (!chat && text.indexOf('\0') >= 0) {
        return bounds.summary * bounds.texts;  // UTF-16 or UTF-32: no field would be found
    }
    const largest = LIMITS.reduce((most, name) => Math.max(most, number(text, body, name)),
        chat ? model.writes : model.summary);
    let many = 1;
    if (!chat) {
        many = list('inputs').test(text) ? bounds.texts : 1;
    } else {
        const choices = Math.min(Math.max(1, number(text, body, 'n')), bounds.choices);
        many = !uri.endsWith('/chat/completions') && list('prompt').test(text)
            ? bounds.answers : choices;
    }
    return bounded(largest, model) * many;
}

// The largest number under a name; 0 for none. Whoever says one very often, or spells a letter of
// its name by a number, is taken to say the largest.
function number(text, body, name) {
    if (new RegExp(`(?!"${name}")${spelled(name)}`).test(text)) {
        return LARGEST;
    }
    const key = Buffer.from(`"${name}"`);
    let most = 0;
    let at = body.indexOf(key);
    for (let times = 0; at >= 0; times++) {
        if (times === OFTEN) {
            return LARGEST;
        }
        const behind = at + key.length;
        const found = NUMBER.exec(body.subarray(behind, behind + 64).toString());
        most = found ? Math.max(most, Number(found[1])) : most;
        at = body.indexOf(key, behind);
    }
    return most;
}

// A list of anything but numbers, which are one prompt in tokens.
function list(name) {
    return new RegExp(`${spelled(name)}\\[[ \\t\\r\\n]*[^ \\t\\r\\n0-9]`);
}

// JSON may spell each letter of a name by its number.
function spelled(name) {
    const letters = name.split('').map((letter) => {
        const code = letter.charCodeAt(0).toString(16).split('').map((digit) =>
            (digit > '9' ? `[${digit}${digit.toUpperCase()}]` : digit)).join('');
        return `(?:${letter}|\\\\u00${code})`;
    });
    return `"${letters.join('')}"[ \\t\\r\\n]*:[ \\t\\r\\n]*`;
}

// Only what the API looks at, or a field that means nothing there would make room for more.
function stated(said, uri, chat) {
    if (chat) {
        return [said.max_tokens].concat(
            uri.endsWith('/chat/completions') ? said.max_completion_tokens : []);
    }
    if (uri !== '/') {
        return [said.max_length];
    }
    const one = said.parameters || {}, other = one.generate_parameters || {};
    return [one.max_length, one.max_new_tokens, other.max_length, other.max_new_tokens];
}

function bounded(tokens, model) {
    return model.context ? Math.min(tokens, model.context) : tokens;
}

function whole(value) {
    return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= LARGEST;
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
