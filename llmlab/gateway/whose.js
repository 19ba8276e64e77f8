// Whose a token is whose signature is right, where tokens of identity providers are valid as well.
// A key of one never verifies a token of another: who has the key has to be who the token says,
// and it has to be meant for this gateway. Which keys and rules there are is rendered.
// Included by every edition but NGINX Plus. llmlab/issuers/judging.py says the same in words.

import rendered from 'issuers.js';

const TRUST = rendered === '' ? null : JSON.parse(rendered);
const KID = /^[\x21-\x7e]{1,128}$/;

// The provider whose key a token names; null for the lab's own keys, undefined for none. What
// names no key by a text was verified by any of them.
function owner(header) {
    const kid = header.kid;
    if (typeof kid !== 'string' || !has(TRUST.owners, kid)) {
        return undefined;
    }
    return TRUST.owners[kid] < 0 ? null : TRUST.issuers[TRUST.owners[kid]];
}

function ok(header, claims) {
    if (TRUST === null) {
        return true;
    }
    const by = owner(header);
    if (by === undefined) {
        return false;
    }
    if (by === null) {
        return TRUST.issuers.every((one) => one.iss !== claims.iss);
    }
    // They are given up in time even if nobody is left to take them out.
    return Date.now() / 1000 < by.until && claims.iss === by.iss
        && by.algorithms.indexOf(header.alg) >= 0
        && hasOneOf(claims.aud, by.audiences)
        && by.require.every((rule) => hasOneOf(claim(claims, rule[0]), rule[1]))
        && scopesOk(claims, by.scopes) && subjectBy(by, claims) !== '';
}

function subject(header, claims) {
    const by = TRUST === null ? null : owner(header);
    if (by === null) {
        return typeof claims.sub === 'string' ? claims.sub : '';
    }
    return by === undefined ? '' : subjectBy(by, claims);
}

function subjectBy(by, claims) {
    const said = claim(claims, by.subject);
    return typeof said === 'string' && said !== '' ? by.prefix + said : '';
}

// A name with dots is the claim of that name, or else leads into objects.
function claim(claims, name) {
    if (has(claims, name)) {
        return claims[name];
    }
    return name.split('.').reduce((found, part) =>
        (typeof found === 'object' && found !== null && !Array.isArray(found) && has(found, part)
            ? found[part] : undefined), claims);
}

function hasOneOf(said, wanted) {
    const there = Array.isArray(said) ? said : [said];
    return there.some((one) => wanted.indexOf(one) >= 0);
}

function scopesOk(claims, wanted) {
    if (wanted.length === 0) {
        return true;
    }
    const there = [claims.scope, claims.scp].map((said) =>
        (typeof said === 'string' ? said.split(' ') : Array.isArray(said) ? said : []));
    return wanted.every((one) => there.some((list) => list.indexOf(one) >= 0));
}

// Of a refused token, as ISSUER:KID: a key that it names and nobody has here, of a provider that
// there is. Nothing of it was verified: whoever keeps the keys may want to look for new ones.
function unknown(header, claims) {
    const by = TRUST === null ? undefined : TRUST.issuers.find((one) => one.iss === claims.iss);
    const kid = header.kid;
    const asks = by !== undefined && typeof kid === 'string' && KID.test(kid);
    return asks && !has(TRUST.owners, kid) ? `${by.name}:${kid}` : '';
}

function has(object, name) {
    return Object.prototype.hasOwnProperty.call(object, name);
}

export default { ok, subject, unknown };
