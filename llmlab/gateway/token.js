// When a token may be used, which nginx-auth-jwt does not check by itself:
// `nbf` must not lie in the future, and `exp` must be there. Included by every
// edition but NGINX Plus, which checks both natively.

function timeOk(r) {
    const claims = JSON.parse(r.variables.jwt_claims);
    const now = Date.now() / 1000;
    if (claims.nbf !== undefined && !(typeof claims.nbf === 'number' && claims.nbf <= now)) {
        return '0';
    }
    if (claims.exp === undefined) {
        // Only the published token of the demo mode may live for ever.
        const demo = r.variables.lab_demo_kid;
        return demo && r.variables.jwt_header_kid === demo ? '1' : '0';
    }
    return typeof claims.exp === 'number' && claims.exp > now ? '1' : '0';
}

export default { timeOk };
