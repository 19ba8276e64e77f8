// Which route or deployment a request in OpenAI's dialect goes to: `model` in its body says so.
// NGINX has read the body by then, and passes it on as it is. Not part of the edition NGINX Plus,
// which has no njs: there every such request goes by the route chat.

function choose(r) {
    const names = r.variables.lab_names.split(' ');
    const model = named(r.requestText);
    if (model === undefined || model === null || model === '') {
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

// undefined where nobody can tell: what is wrong with such a body, the API says.
function named(text) {
    try {
        return JSON.parse(text).model;
    } catch (error) {
        return undefined;
    }
}

function refuse(r, message) {
    const error = { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' };
    r.headersOut['Content-Type'] = 'application/json';
    r.return(404, `${JSON.stringify({ error })}\n`);
}

export default { choose };
