// What a request may take at most, by what its body says and what its model can write. What of that
// fits, budgets.js says. Not part of the edition NGINX Plus, which has no njs.

const NO = '0';  // of $lab_says and $lab_shows, see budgets.py
// A larger body is not read as JSON, see openai.js; nor is it made a text, nor looked at by a map
// of NGINX's: each would copy it, and a copy stays until the answer is over.
const SMALL = 65536;
// By the tokenizer of SmolLM2, a token has 4.5 bytes of English, 4.0 of code, 2.6 of German, 2.3 of
// Russian, 1.6 of Chinese and 1.0 of digits; larger models' take more. What is underestimated here
// is put right when it is settled.
const BYTES_A_TOKEN = 3;
// A picture in a message, whatever its bytes: what the largest providers count for a large one.
const PICTURE = '"data:image/', QUOTE = '"';
const A_PICTURE = 4500;  // bytes
const LARGEST = 2147483647;  // as the API takes it
// So often something is looked for in a body. What a worker does for one, all others wait for.
const OFTEN = 100;

// --- What a body says: {read, asked, many, unread, text} -------------------------------------

// read: tokens of the body; asked: those of an answer, 0 for as many as is usual; many: answers;
// unread: nobody knows which of its fields are the request's own; text: of one to be looked at yet.
function said(r, told, bytes) {
    const size = bytes.byteLength;
    if (size > SMALL) {
        return unread(Buffer.from(bytes), r.uri);
    }
    if (told.lab_says === NO) {
        return { read: Math.ceil(size / BYTES_A_TOKEN), asked: 0, many: 1, text: '' };
    }
    const read = tokensOf(told, Buffer.from(bytes));
    return { read, asked: 0, many: 1, text: r.requestText || '' };
}

// Of a body that openai.js has, for the location that it goes on to: $lab_stated. said: what it has
// read of it, undefined of a large one.
function stated(r, body, said) {
    if (lab_budgets.budgets.length) {
        const told = r.variables, uri = r.uri;
        if (body.length > SMALL) {
            const all = unread(body, uri);
            told.lab_stated = all.read + ' ' + all.asked + ' ' + all.many + ' 1';
            return;
        }
        const one = said.n === undefined && said.prompt === undefined;
        told.lab_stated = tokensOf(told, body) + ' ' + largest(said, uri, true) + ' '
            + (one ? 1 : answers(said, uri, true));
    }
}

function restated(text) {
    const numbers = text.split(' ');
    return {
        read: Number(numbers[0]), asked: Number(numbers[1]), many: Number(numbers[2]),
        unread: numbers.length > 3, text: '',
    };
}

// --- What that may take ------------------------------------------------------------------------

// {read, written}: tokens.
function most(told, said, uri, model) {
    const chat = uri.indexOf('/v1/') >= 0, window = model.window;
    let read = said.read, written = 0;
    if (!chat || !uri.endsWith('/embeddings')) {
        const most = usual(told, chat, model);
        written = said.text ? mostWritten(said.text, uri, chat, model, most)
            : said.unread ? mostUnread(said, model, most)
                : bounded(said.asked || most, model) * said.many;
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
function tokensOf(told, body) {
    return Math.ceil((told.lab_shows === NO ? body.length : withoutPictures(body)) / BYTES_A_TOKEN);
}

// What begins like a picture anywhere else is text. $ would match before a line end as well.
function withoutPictures(body) {
    const before = /"image_url"\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]{1,16}"\s*,\s*)?"url"\s*:\s*(?![^])/;
    let bytes = body.length, at = body.indexOf(PICTURE);
    for (let times = 0; at >= 0 && times < OFTEN; times++) {
        const end = body.indexOf(QUOTE, at + PICTURE.length);
        if (end < 0) {
            break;
        }
        if (before.test(body.subarray(Math.max(0, at - 128), at).toString())) {
            bytes += Math.min(0, A_PICTURE - (end - at));
        }
        at = body.indexOf(PICTURE, end);
    }
    return bytes;
}

// Of an answer for which the request says no limit. Of a summary, the API goes by what a flag
// presets.
function usual(told, chat, model) {
    const most = chat ? model.writes : model.summary;
    if (!lab_budgets.presets || (chat && !model.summarizes)) {
        return most;
    }
    const preset = /(?:^|,)max_length=(\d{1,4})(?:,|(?![^]))/.exec(told.lab_decoding || '');
    return preset ? Math.max(most, Number(preset[1])) : most;
}

function mostWritten(text, uri, chat, model, most) {
    let said;
    try {
        said = JSON.parse(text);
    } catch (error) {
        // Nested too deep for here, in another encoding, or nothing that the API takes.
        return mostUnread(unread(Buffer.from(text), uri), model, most);
    }
    if (said === null || typeof said !== 'object') {
        return most;
    }
    // A preset that is below the shortest that is asked for yields to that.
    const asked = larger(largest(said, uri, chat) || most, chat ? 0 : shortest(said, uri));
    return bounded(asked, model) * answers(said, uri, chat);
}

function mostUnread(said, model, most) {
    return bounded(Math.max(said.asked, most), model) * said.many;
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

function shortest(said, uri) {
    if (uri !== '/') {
        return larger(0, said.min_length);
    }
    const one = said.parameters || {}, other = one.generate_parameters || {};
    return larger(larger(0, one.min_length), other.min_length);
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

// --- Of a body that is not read as JSON ----------------------------------------------------------

// The most that any of its fields says, and of prompts and texts as many as the API takes. Each
// look goes through all of it: so names that end alike are looked for together.
function unread(body, uri) {
    const chat = uri.indexOf('/v1/') >= 0, bounds = lab_budgets.most;
    const read = Math.ceil(withoutPictures(body) / BYTES_A_TOKEN);
    if (chat && uri.endsWith('/embeddings')) {
        return { read, asked: 0, many: 1, unread: true };
    }
    if (!chat && body.indexOf('\0') >= 0) {  // UTF-16 or UTF-32: no field would be found
        return { read, asked: bounds.summary, many: bounds.texts, unread: true };
    }
    const spelled = spelledIn(body, chat);
    const asked = spelled.limit ? LARGEST
        : Math.max(number(body, '_tokens"'), chat ? 0 : number(body, '_length"'));
    let many = 1;
    if (!chat) {
        many = spelled.many || listed(body, 'inputs') ? bounds.texts : 1;
    } else if (!uri.endsWith('/chat/completions') && (spelled.many || listed(body, 'prompt'))) {
        many = bounds.answers;
    } else {
        many = spelled.many ? bounds.choices
            : Math.min(Math.max(1, number(body, '"n"')), bounds.choices);
    }
    return { read, asked, many, unread: true };
}

// The largest number under names that end so; 0 for none. Whoever says one very often, or puts more
// before it than is looked at, is taken to say the largest.
function number(body, ending) {
    const named = /"(?:max|max_completion|max_new|min)(?![^])/;
    const said = /^\s*:\s*(\d{1,10})/, begun = /^\s*(?::\s*\d*)?(?![^])/;
    let most = 0;
    const all = everyPlace(body, ending, (text, cut, at) => {
        if (ending !== '"n"'
            && !named.test(body.subarray(Math.max(0, at - 24), at).toString())) {
            return true;
        }
        const found = said.exec(text);
        most = found ? Math.max(most, Number(found[1])) : most;
        return !(cut && begun.test(text));
    });
    return all ? most : LARGEST;
}

// A list of anything but numbers, which are one prompt in tokens.
function listed(body, name) {
    const list = /^\s*:\s*\[\s*[^\s0-9]/;
    const begun = /^\s*(?::\s*(?:\[\s*)?)?(?![^])/;
    return !everyPlace(body, `"${name}"`, (text, cut) =>
        !list.test(text) && !(cut && begun.test(text)));
}

// Whether `holds` of what is behind each place of a key, of which there are not too many. `cut`:
// more is behind it than is looked at.
function everyPlace(body, key, holds) {
    const looks = 64, size = key.length;
    let at = body.indexOf(key);
    for (let times = 0; at >= 0; times++) {
        const begin = at + size, end = begin + looks;
        if (times === OFTEN
            || !holds(body.subarray(begin, end).toString(), end < body.length, at)) {
            return false;
        }
        at = body.indexOf(key, begin);
    }
    return true;
}

// JSON may spell each letter of a name by its number: {limit, many} is whether one of those names
// may be spelled so.
function spelledIn(body, chat) {
    if (body.indexOf('\\u00') < 0) {
        return { limit: false, many: false };
    }
    const around = [];  // of _ and of letters
    const all = ['\\u005f', '\\u005F', '\\u006', '\\u007'].every((code) =>
        everyPlace(body, code, (text, cut, at) => {
            around.push(body.subarray(Math.max(0, at - 128), at + 136).toString());
            return true;
        }));
    const found = (names) => !all || names.some((name) => {
        const other = new RegExp(`(?!"${name}")${spelled(name)}`);
        return around.some((text) => other.test(text));
    });
    const limits = chat ? ['max_tokens', 'max_completion_tokens']
        : ['max_length', 'max_new_tokens', 'min_length'];
    const several = chat ? ['n', 'prompt'] : ['inputs'];
    return { limit: found(limits), many: found(several) };
}

function spelled(name) {
    const letters = name.split('').map((letter) => {
        const code = letter.charCodeAt(0).toString(16).split('').map((digit) =>
            (digit > '9' ? `[${digit}${digit.toUpperCase()}]` : digit)).join('');
        return `(?:${letter}|\\\\u00${code})`;
    });
    return `"${letters.join('')}"`;
}

function bounded(tokens, model) {
    return model.context ? Math.min(tokens, model.context) : tokens;
}

function whole(value) {
    return typeof value === 'number' && value > 0 && value <= LARGEST && value % 1 === 0;
}

export default { said, stated, restated, most };
