// Whose a token is whose signature is right, where tokens of identity providers are valid as well.
// A key of one never verifies a token of another: who has the key has to be who the token says,
// and it has to be meant for this gateway. Which keys and rules there are is rendered.
// Included by every edition but NGINX Plus. llmlab/issuers/judging.py says the same in words.

import rendered from 'issuers.js';

const TRUST = rendered === '' ? null : JSON.parse(rendered);
// Here $ also matches before a line end that is the last letter: (?![^]) is the very end.
const KID = /^[\x21-\x7e]{1,128}(?![^])/;
const SCOPE = /^llmlab:(\*|[a-z0-9][a-z0-9-]{0,62})(?![^])/;
const PEOPLE = ['llmlab:operator', 'llmlab:viewer'];

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
        && scopesOk(claims, by.scopes) && itsOwn(by, subjectBy(by, claims));
}

function subject(header, claims) {
    const by = TRUST === null ? null : owner(header);
    if (by === null) {
        return typeof claims.sub === 'string' ? claims.sub : '';
    }
    return by === undefined ? '' : subjectBy(by, claims);
}

// Without a prefix, somebody there might else be called as somebody of another provider.
function itsOwn(by, subject) {
    return subject !== '' && TRUST.issuers.every((one) =>
        one === by || one.prefix === '' || !subject.startsWith(one.prefix));
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

// The scopes of the lab that a token has, each with a space on both sides: words of `scope` or `scp`,
// or whole items of lists. What is no text, or only reads like one, is none. An operator, or a viewer,
// is who the lab itself says so of, unless a provider may say it as well.
function scopes(header, claims) {
    const by = TRUST === null ? null : owner(header);
    const found = [];
    [claims.scope, claims.scp, claims.roles].forEach((said) => {
        const words = typeof said === 'string' ? said.split(' ') : Array.isArray(said) ? said : [];
        words.forEach((word) => {
            if (typeof word === 'string' && SCOPE.test(word)
                && (PEOPLE.indexOf(word) < 0 || by === null || by.operators)) {
                found.push(word);
            }
        });
    });
    if (by && by.defaults !== null && found.every((word) => PEOPLE.indexOf(word) >= 0)) {
        by.defaults.forEach((word) => { found.push(word); });
    }
    return found.length ? ` ${found.join(' ')} ` : ' ';
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

export default { ok, scopes, subject, unknown };
