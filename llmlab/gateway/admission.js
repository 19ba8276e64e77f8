// What stands between a request that may be asked and a model, where a WAF is configured: first the
// WAF, then the budgets, which reserve what only a request that goes on may take.

import budgets from 'lab/budgets.js';
import waf from 'lab/waf.js';

async function admit(r) {
    if (await waf.admit(r) && lab_budgets.budgets.length) {
        await budgets.admit(r);
    }
}

export default { admit };
