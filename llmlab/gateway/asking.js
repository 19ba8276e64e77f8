// What a request may take at most, by what its body says and what its model can write. What of that
// fits, budgets.js says. Not part of the edition NGINX Plus, which has no njs.

const NO = '0';  // of $lab_says and $lab_shows, see budgets.py
// A larger body is not read as JSON, see openai.js.
const SMALL = 65536;
// By the tokenizer of SmolLM2, a token has 4.5 bytes of English, 4.0 of code, 2.6 of German, 2.3 of
// Russian, 1.6 of Chinese and 1.0 of digits; larger models' take more. What is underestimated here
// is put right when it is settled.
const BYTES_A_TOKEN = 3;
// A picture in a message, whatever its bytes: what the largest providers count for a large one.
const PICTURE = '"data:image/', QUOTE = '"';
const BEFORE = /"url"[ \t\r\n]*:[ \t\r\n]*(?![^])/;  // $ would match before a line end as well
const A_PICTURE = 4500;  // bytes
const LIMITS = ['max_tokens', 'max_completion_tokens', 'max_length', 'max_new_tokens'];
const LARGEST = 2147483647;  // as the API takes it
// So often something is looked for in a body. What a worker does for one, all others wait for.
const OFTEN = 100;
const NUMBER = /^[ \t\r\n]*:[ \t\r\n]*(\d{1,10})/;

// --- What a body says: {read, asked, many, text} ---------------------------------------------

// read: tokens of the body; asked: those of an answer, 0 for as many as is usual; many: answers;
// text: the body, where that has to be looked at once more.
function said(r, told, body) {
    if (told.lab_says === NO) {
        return { read: Math.ceil(body.byteLength / BYTES_A_TOKEN), asked: 0, many: 1, text: '' };
    }
    const text = r.requestText || '';
    return { read: tokensOf(told, text), asked: 0, many: 1, text };
}

// Of a body that openai.js has read as JSON, for the location that it goes on to: $lab_stated.
function stated(r, said) {
    if (lab_budgets.budgets.length) {
        const told = r.variables, uri = r.uri;
        const one = said.n === undefined && said.prompt === undefined;
        told.lab_stated = tokensOf(told, r.requestText) + ' ' + largest(said, uri, true) + ' '
            + (one ? 1 : answers(said, uri, true));
    }
}

function restated(text) {
    const numbers = text.split(' ');
    return { read: Number(numbers[0]), asked: Number(numbers[1]), many: Number(numbers[2]), text: '' };
}

// --- What that may take ------------------------------------------------------------------------

// {read, written}: tokens.
function most(said, uri, model) {
    const chat = uri.indexOf('/v1/') >= 0, text = said.text, window = model.window;
    let read = said.read, written = 0;
    if (!chat || !uri.endsWith('/embeddings')) {
        written = text ? mostWritten(text, uri, chat, model) : bounded(
            said.asked || (chat ? model.writes : model.summary), model) * said.many;
    }
    // A text that is summarized window by window is read once and a half, and again as the
    // summaries of its windows, which are a third of it: see reader.py.
    if (window && read > window && (!chat || model.summarizes)) {
        written += Math.ceil(read / 2);
        read *= 2;
    }
    return { read, written };
}

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

export default { said, stated, restated, most };
