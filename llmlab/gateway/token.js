// What nginx-auth-jwt does not check by itself. Included by every edition but
// NGINX Plus. An exception in here leaves the variable empty: the token is refused.

import whose from 'whose.js';

// 0 for one that is refused; else 1, what it lets its bearer do, and in a line of its own whose it
// is. Asked for before there are claims, as for the log of a request without a token, it is nothing.
function told(r) {
    if (!r.variables.jwt_claims) {
        return '';
    }
    const claims = JSON.parse(r.variables.jwt_claims);
    const header = part(r, 0);
    return sound(r, header, claims) && whose.ok(header, claims)
        ? `1${whose.scopes(header, claims)}\n${whose.subject(header, claims)}` : '0';
}

function sound(r, header, claims) {
    return timeOk(claims, r) && subjectOk(claims) && headerOk(header);
}

// `nbf` must not lie in the future, but for the difference of two clocks, and `exp` must be there.
// `iat` must be a number.
function timeOk(claims, r) {
    const now = Date.now() / 1000;
    const latest = now + Number(r.variables.lab_leeway);
    if (claims.nbf !== undefined && !(typeof claims.nbf === 'number' && claims.nbf <= latest)) {
        return false;
    }
    // A list or a text would read as its digits where tokens that were ended are told apart.
    if (claims.iat !== undefined && typeof claims.iat !== 'number') {
        return false;
    }
    if (claims.exp === undefined) {
        // Only the published token of the demo mode may live for ever.
        const demo = r.variables.lab_demo_kid;
        return demo !== '' && r.variables.jwt_header_kid === demo;
    }
    return typeof claims.exp === 'number' && claims.exp > now;
}

// As a variable a list would read "a,b" and null "null": subjects that somebody may have.
function subjectOk(claims) {
    return claims.sub === undefined || typeof claims.sub === 'string';
}

// The map in nginx.conf sees no `crit` that is an empty string.
function headerOk(header) {
    return header.crit === undefined;
}

// A part of the token, or of the one that an API key stands for: 0 is its header.
function part(r, number) {
    const token = r.variables.lab_credential;
    return JSON.parse(Buffer.from(token.split('.')[number], 'base64url').toString());
}

// For the log of a request that was refused.
function unknownKey(r) {
    try {
        return whose.unknown(part(r, 0), part(r, 1));
    } catch (error) {
        return '';  // it has no token, or what is none
    }
}

// The claims that are plain values, as ",name,name,": a list or an object would match what its
// text happens to be.
function values(r) {
    const claims = JSON.parse(r.variables.jwt_claims || '{}');
    const plain = ['string', 'number', 'boolean'];
    const names = Object.keys(claims).filter((name) => plain.indexOf(typeof claims[name]) >= 0);
    return names.length ? `,${names.filter((name) => !name.includes(',')).join(',')},` : '';
}

export default { told, unknownKey, values };
