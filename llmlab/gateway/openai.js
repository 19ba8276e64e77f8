// Which route or deployment a request in OpenAI's dialect goes to: `model` in its body says so.
// NGINX has read the body by then, and passes it on as it is. Not part of the edition NGINX Plus,
// which has no njs: there every such request goes by the route chat.

import asking from 'lab/asking.js';

// A larger body is not read as JSON: what is made of it can have ninety times its size, and stays
// until the answer is over.
const SMALL = 65536;
const KEY = Buffer.from('"model"');
const VALUE = /^[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.){0,200}")/;
// So often that word is looked for there. What a worker does for one, all others wait for.
const MOST = 100;
const LONGEST = 512;  // bytes behind it

const UNNAMED = 'dummy';  // how huggingface_hub spells that it was given an address and no name

function choose(r) {
    const names = r.variables.lab_names.split(' ');
    const model = named(r, names);
    if (model === undefined || model === null || model === ''
        || (model === UNNAMED && names.indexOf(model) < 0)) {
        r.variables.asked = r.variables.lab_unnamed;
    } else if (names.indexOf(model) < 0) {
        const said = typeof model === 'string' ? model.slice(0, 100) : String(typeof model);
        refuse(r, `The model '${said}' does not exist; there are: ${names.join(', ')}.`);
        return;
    } else {
        r.variables.asked = model;
    }
    r.internalRedirect('@openai');
}

// undefined where nobody can tell: what is wrong with such a body, the API says. Of a large one, the
// first key of that name that names something here; the API looks at it once more.
function named(r, names) {
    try {
        const body = r.requestBuffer;
        if (body.length <= SMALL) {
            const said = JSON.parse(r.requestText);
            asking.stated(r, body, said);
            return said.model;
        }
        asking.stated(r, body);
        const found = values(body);
        return found.find((one) => names.indexOf(one) >= 0) || found[0];
    } catch (error) {
        return undefined;
    }
}

function values(body) {
    const found = [];
    let at = body.indexOf(KEY);
    for (let looked = 0; at >= 0 && looked < MOST; looked++) {
        const behind = at + KEY.length;
        const value = VALUE.exec(body.subarray(behind, behind + LONGEST).toString());
        if (value) {
            found.push(JSON.parse(value[1]));
        }
        at = body.indexOf(KEY, behind);
    }
    return found;
}

function refuse(r, message) {
    const error = { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' };
    r.headersOut['Content-Type'] = 'application/json';
    r.headersOut['X-Should-Retry'] = 'false';
    r.return(404, `${JSON.stringify({ error })}\n`);
}

export default { choose };
