// What nginx-auth-jwt does not check by itself. Included by every edition but
// NGINX Plus. An exception in here leaves the variable empty: the token is refused.

function ok(r) {
    const claims = JSON.parse(r.variables.jwt_claims);
    return timeOk(claims, r) && subjectOk(claims) && headerOk(r) ? '1' : '0';
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
function headerOk(r) {
    const first = r.variables.lab_credential.split('.')[0];
    const header = JSON.parse(Buffer.from(first, 'base64url').toString());
    return header.crit === undefined;
}

// The claims that are plain values, as ",name,name,": a list or an object would match what its
// text happens to be.
function values(r) {
    const claims = JSON.parse(r.variables.jwt_claims || '{}');
    const plain = ['string', 'number', 'boolean'];
    const names = Object.keys(claims).filter((name) => plain.indexOf(typeof claims[name]) >= 0);
    return names.length ? `,${names.filter((name) => !name.includes(',')).join(',')},` : '';
}

export default { ok, values };
