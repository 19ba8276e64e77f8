// See like-plus.conf. An exception in here leaves the variable empty: the token is refused.

function times(r) {
    const claims = JSON.parse(r.variables.jwt_claims);
    const now = Date.now() / 1000;
    const ends = claims.exp === undefined || (isTime(claims.exp) && claims.exp > now);
    const begun = claims.nbf === undefined || (isTime(claims.nbf) && claims.nbf <= now);
    return ends && begun ? '1' : '0';
}

function isTime(value) {
    return typeof value === 'number';
}

export default { times };
