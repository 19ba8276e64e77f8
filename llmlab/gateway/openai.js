// Which route or deployment a request in OpenAI's dialect goes to: `model` in its body says so.
// NGINX has read the body by then, and passes it on as it is. Not part of the edition NGINX Plus,
// which has no njs: there every such request goes by the route chat.

// A larger body is not read as JSON: what is made of it can have ninety times its size, and stays
// until the answer is over.
const SMALL = 65536;
const MODEL = /"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.){0,200}")/g;

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
        const text = r.requestText;
        if (text.length <= SMALL) {
            return JSON.parse(text).model;
        }
        const found = (text.match(MODEL) || []).slice(0, 100).map((one) =>
            JSON.parse(one.slice(one.indexOf('"', 7))));
        return found.find((one) => names.indexOf(one) >= 0) || found[0];
    } catch (error) {
        return undefined;
    }
}

function refuse(r, message) {
    const error = { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' };
    r.headersOut['Content-Type'] = 'application/json';
    r.headersOut['X-Should-Retry'] = 'false';
    r.return(404, `${JSON.stringify({ error })}\n`);
}

export default { choose };
