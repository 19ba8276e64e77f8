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
const NO = '0';  // of $lab_says and $lab_shows, see budgets.py
const PICTURE = '"data:image/', QUOTE = '"';
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
    const said = told.lab_stated;
    if (said) {
        const numbers = said.split(' ');
        decide(r, told, Number(numbers[0]), Number(numbers[1]), Number(numbers[2]), '');
        return;
    }
    const body = r.readRequestArrayBuffer();  // at once where somebody has read it before
    if (body.then) {
        return body.then((read) => { admitBody(r, told, read); });
    }
    admitBody(r, told, body);
}

function admitBody(r, told, body) {
    if (told.lab_says === NO) {
        decide(r, told, Math.ceil(body.byteLength / BYTES_A_TOKEN), 0, 1, '');
        return;
    }
    const text = r.requestText || '';
    decide(r, told, tokensOf(told, text), 0, 1, text);
}

// What a body says that openai.js has read, for the location that it goes on to.
function stated(r, said) {
    if (lab_budgets.budgets.length) {
        const told = r.variables, uri = r.uri;
        const one = said.n === undefined && said.prompt === undefined;
        told.lab_stated = tokensOf(told, r.requestText) + ' ' + largest(said, uri, true) + ' '
            + (one ? 1 : answers(said, uri, true));
    }
}

// read: tokens of the body; asked: those of an answer, 0 for as many as is usual; many: answers;
// text: the body where that has to say it instead.
function decide(r, told, read, asked, many, text) {
    const model = lab_budgets.models[told.lab_target] || lab_budgets.unknown;
    const uri = r.uri, chat = uri.indexOf('/v1/') >= 0;
    let written = 0;
    if (!chat || !uri.endsWith('/embeddings')) {
        written = text ? mostWritten(text, uri, chat, model) : bounded(
            asked || (chat ? model.writes : model.summary), model) * many;
    }
    // A text that is summarized window by window is read once and a half, and again as the
    // summaries of its windows, which are a third of it: see reader.py.
    const window = model.window;
    if (window && read > window && (!chat || model.summarizes)) {
        written += Math.ceil(read / 2);
        read *= 2;
    }
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

// --- What a request may take ----------------------------------------------------------------

// The whole body: what JSON and its names add is what a template says around each message.
function tokensOf(told, text) {
    const bytes = told.lab_shows === NO ? Buffer.byteLength(text)
        : withoutPictures(Buffer.from(text));
    return Math.ceil(bytes / BYTES_A_TOKEN);
}

function withoutPictures(body) {
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
    return bytes;
}

function mostWritten(text, uri, chat, model) {
    const most = chat ? model.writes : model.summary;
    let said;
    try {
        said = text.length <= SMALL ? JSON.parse(text) : undefined;
    } catch (error) {
        // Nested too deep for here, in another encoding, or nothing that the API takes.
    }
    if (said === undefined) {
        return mostUnread(text, Buffer.from(text), uri, chat, model);
    }
    if (said === null || typeof said !== 'object') {
        return most;
    }
    return bounded(largest(said, uri, chat) || most, model) * answers(said, uri, chat);
}

// The largest limit of an answer, 0 for none. Only what the API looks at, or a field that means
// nothing there would make room for more.
function largest(said, uri, chat) {
    if (chat) {
        const most = larger(0, said.max_tokens);
        return uri.endsWith('/chat/completions') ? larger(most, said.max_completion_tokens) : most;
    }
    if (uri !== '/') {
        return larger(0, said.max_length);
    }
    const one = said.parameters || {}, other = one.generate_parameters || {};
    return [one.max_length, one.max_new_tokens, other.max_length, other.max_new_tokens]
        .reduce(larger, 0);
}

function larger(most, value) {
    return whole(value) && value > most ? value : most;
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

function bounded(tokens, model) {
    return model.context ? Math.min(tokens, model.context) : tokens;
}

function whole(value) {
    return typeof value === 'number' && value > 0 && value <= LARGEST && value % 1 === 0;
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

export default { admit, stated, page };
