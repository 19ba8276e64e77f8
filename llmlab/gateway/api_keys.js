// API keys: what NGINX has of one is its SHA-256, and the token that it stands for. Not part of the
// edition NGINX Plus, which has no njs.

import crypto from 'crypto';

// Those that were ended while a connection from before goes by a configuration from before: all
// workers share them, whichever configuration they have.
function digest(r) {
    const found = crypto.createHash('sha256').update(r.variables.lab_token).digest('hex');
    return ngx.shared.lab_ended_keys.has(found) ? '' : found;
}

// From the operator only: digests, one a line.
function end(r) {
    r.requestText.split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line)).forEach((line) => {
        ngx.shared.lab_ended_keys.set(line, '1');
    });
    r.return(204);
}

export default { digest, end };
