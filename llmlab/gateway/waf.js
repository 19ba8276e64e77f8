// Has a request looked at by the WAF before it goes on: an NGINX of its own with ModSecurity and the
// OWASP Core Rule Set, which answers by what it has found and passes nothing on. Not part of the
// edition NGINX Plus, which has no njs.
//
// The WAF sees method, address, headers and the body's JSON without its texts: in the place of each
// stands how many bytes it has. Rules that look for signs take prose and code for attacks, and cost
// most on long texts; texts are for guards.

import usage from 'lab/usage.js';

// What a model reads or writes. `*` is any item of a list; below `**` every text is one.
const TEXTS = [
    'text', 'inputs', 'inputs.*', 'input', 'input.*', 'prompt', 'prompt.*', 'suffix',
    'stop', 'stop.*', 'messages.*.content', 'messages.*.content.*.text', 'messages.*.refusal',
    'messages.*.reasoning_content', 'messages.*.content.*.refusal',
    'messages.*.tool_calls.*.function.arguments', 'messages.*.function_call.arguments',
    'tools.**', 'functions.**', 'response_format.**', 'prediction.content',
    'prediction.content.*.text', 'messages.*.content.*.input_audio.data',
    'messages.*.content.*.file.file_data',
];
// An address, which somebody may be meant to fetch; or the picture itself, which is bytes.
const PICTURES = ['messages.*.content.*.image_url.url'];
const INLINE = 'data:image/';
const PLACES = tree();

// Beside texts a request is short: what is longer is not looked at, and so it is not let through.
const LONGEST = 131072;   // bytes
const STEPS = 400000;     // signs between texts, and quotes within them
const DEEPEST = 64;       // as the APIs have it

const SPACE = ' \t\r\n', QUOTE = 0x22, ESCAPE = 0x5c;
const KINDS = /^\/found\?(\d+)&([a-z]+=\d+(?:&[a-z]+=\d+)*)$/;
const LONG = 'size';      // the kind of a finding that is not by a rule

// Returns whether the request may go on; where not, it is answered.
async function admit(r) {
    const told = r.variables;
    if (told.lab_waf || r.remoteAddress === 'unix:') {
        return true;  // looked at already; or a question of the lab's own
    }
    let found;
    try {
        found = await look(r);
    } catch (error) {
        r.error(`the WAF was not asked: ${error.message}`);
        found = { verdict: 'unavailable', kinds: '' };
    }
    told.lab_waf = found.verdict;
    told.lab_waf_kinds = found.kinds;
    count(found);
    if (found.verdict === 'clean' || told.lab_waf_mode !== 'block') {
        return true;
    }
    usage.note('waf refused');
    told.lab_waf_refused = found.verdict;
    r.return({ found: 403, unreadable: 400 }[found.verdict] || 503);
    return false;
}

function count(found) {
    usage.note(found.verdict === 'unavailable' ? 'waf failed' : 'waf inspected');
    if (found.verdict === 'found' || found.verdict === 'unreadable') {
        usage.note('waf found');
    }
}

async function look(r) {
    const sent = await r.readRequestArrayBuffer();  // HTTP/2 need not say how long it is
    const body = sent.byteLength ? bare(Buffer.from(sent)) : '';
    if (body === undefined) {
        return { verdict: 'found', kinds: LONG };
    }
    if (body === null) {
        return { verdict: 'unreadable', kinds: '' };
    }
    r.variables.lab_waf_type = body && 'application/json';
    const reply = await r.subrequest('/.waf', { method: r.method, body });
    return verdictOf(reply.status, reply.headersOut.Location || '');
}

function verdictOf(status, where) {
    const said = status === 302 && KINDS.exec(where.replace(/^https?:\/\/[^/]*/, ''));
    if (said) {
        const kinds = said[2].split('&').map((one) => one.split('='));
        return { verdict: 'found', kinds: kinds.filter((one) => one[1] !== '0')
            .map((one) => one[0]).join(',') };
    }
    const known = { 204: 'clean', 400: 'unreadable', 413: 'found', 414: 'found' };
    const verdict = known[status] || 'unavailable';
    return { verdict, kinds: verdict === 'found' ? LONG : '' };
}

// --- A body without its texts -------------------------------------------------------------

// "" for what is no JSON object, which no API takes; undefined for one that is too long or too
// deep beside its texts, null for one that ends in the middle.
function bare(body) {
    let at = body.length > 2 && body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
    while (at < body.length && at < LONGEST && SPACE.indexOf(String.fromCharCode(body[at])) >= 0) {
        at++;
    }
    if (at === LONGEST) {
        return undefined;
    }
    return body[at] === 0x7b ? walked(body, at) : '';
}

// Each level has a node of the tree of places, null where no text is below.
function walked(body, start) {
    const nodes = [], lists = [];
    let node = PLACES, keyed = null, at = start, copied = start, length = 0, steps = 0;
    const parts = [];
    const keep = (upto) => {
        parts.push(body.toString('utf8', copied, upto));
        length += upto - copied;
    };
    while (at < body.length) {
        if (++steps > STEPS || length + at - copied > LONGEST) {
            return undefined;
        }
        const sign = body[at];
        if (sign === QUOTE) {
            let end = at;
            do {  // to the quote that no odd number of escapes stands before
                end = body.indexOf(QUOTE, end + 1);
                if (++steps > STEPS) {
                    return undefined;
                }
            } while (end > 0 && escaped(body, end, at));
            if (end < 0) {
                return null;
            }
            const list = lists[lists.length - 1];
            if (!list && keyed === null) {
                if (length + end - copied > LONGEST) {
                    return undefined;
                }
                keyed = body.toString('utf8', at + 1, end);
            } else if (isText(child(node, list ? '*' : keyed), body, at + 1)) {
                keep(at);
                parts.push(`${end - at - 1}`);
                copied = end + 1;
            }
            at = end;
        } else if (sign === 0x7b || sign === 0x5b) {  // { [
            if (lists.length === DEEPEST) {
                return undefined;
            }
            if (lists.length) {
                nodes.push(node);
                node = child(node, lists[lists.length - 1] ? '*' : keyed);
            }
            lists.push(sign === 0x5b);
            keyed = null;
        } else if (sign === 0x7d || sign === 0x5d) {  // } ]
            lists.pop();
            node = nodes.length ? nodes.pop() : null;
            keyed = '';
        } else if (sign === 0x2c) {  // ,
            keyed = null;
        }
        at++;
    }
    keep(body.length);
    return length > LONGEST ? undefined : parts.join('');
}

function escaped(body, end, begin) {
    let at = end - 1;
    while (at > begin && body[at] === ESCAPE) {
        at--;
    }
    return (end - 1 - at) % 2 === 1;
}

function tree() {
    const root = place();
    TEXTS.forEach((path) => { reach(root, path).text = true; });
    PICTURES.forEach((path) => { reach(root, path).picture = true; });
    return root;
}

function reach(root, path) {
    let node = root;
    path.split('.').forEach((name) => {
        node.below[name] = node.below[name] || place();
        node = node.below[name];
    });
    return node;
}

// A key may be called like something that every object has.
function place() {
    return { text: false, picture: false, below: Object.create(null) };
}

function child(node, key) {
    if (!node) {
        return null;
    }
    return node.below['**'] ? node : node.below[key] || null;
}

function isText(node, body, begin) {
    return node !== null && (node.text || node.below['**'] !== undefined
        || (node.picture && body.toString('utf8', begin, begin + INLINE.length) === INLINE));
}

export default { admit, bare };
