// Counts requests in memory that all workers share, and shows the counts to Prometheus. Not
// part of the edition NGINX Plus, which has no njs.

import budgets from 'lab/budgets.js';
import usage from 'lab/usage.js';

// The buckets of the APIs' own histograms: SECONDS of llmlab/service/metrics.py.
const SECONDS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120];
// A rate is only seen from a counter that was there before it rose.
const STATUSES = ['200', '429', '500', '502', '503', '504'];
const WAF_SAID = {
    inspected: 'Requests that the WAF has looked at.',
    found: 'Those in which it has found something.',
    refused: 'Requests that were refused by it, or because it did not answer.',
    failed: 'Requests that it was asked about and did not answer.',
};
const WAF = Object.keys(WAF_SAID);
const REFUSALS = ['401', '413', '429'];

// A variable that is asked for once a request is over, as a condition of an access_log that
// is never written: empty means no.
function count(r) {
    const counts = ngx.shared.lab_counts;
    const told = r.variables;
    if (told.worth_a_line === '0') {
        return '';
    }
    if (!told.upstream_status) {
        counts.incr(`refused ${told.status}`, 1, 0);
        return '';
    }
    usage.noteWhole(told);
    const name = told.lab_log_deployment;
    const seconds = Number(told.request_time);
    const found = SECONDS.findIndex((bound) => seconds <= bound);
    const status = told.lab_broken === '1' ? '502' : told.status;  // its head said 200
    counts.incr(`requests ${name} ${status}`, 1, 0);
    counts.incr(`bucket ${name} ${found < 0 ? SECONDS.length : found}`, 1, 0);
    counts.incr(`seconds ${name}`, seconds, 0);
    if (byShare(told)) {
        counts.incr(`shared ${told.lab_asked_route} ${name}`, 1, 0);
    }
    return '';
}

// Whether the shares decided where it went, and no match.
function byShare(told) {
    return told.lab_log_route === 'stable' || told.lab_log_route === 'split';
}

function page(r) {
    const found = {};
    ngx.shared.lab_counts.items(65536).forEach((item) => { found[item[0]] = item[1]; });
    const names = r.variables.lab_deployments.split(' ');
    const requests = {}, refused = {}, shared = {};
    Object.keys(found).forEach((key) => {
        const words = key.split(' ');
        if (words[0] === 'requests') {
            names.push(words[1]);
            requests[`deployment="${words[1]}",status="${words[2]}"`] = found[key];
        } else if (words[0] === 'shared') {
            shared[`route="${words[1]}",deployment="${words[2]}"`] = found[key];
        } else if (words[0] === 'refused') {
            refused[`status="${words[1]}"`] = found[key];
        }
    });
    const all = names.sort().filter((name, place) => name !== names[place - 1]);
    all.forEach((name) => {
        STATUSES.forEach((status) => {
            const labels = `deployment="${name}",status="${status}"`;
            requests[labels] = requests[labels] || 0;
        });
    });
    r.variables.lab_ways.split(' ').forEach((way) => {
        const words = way.split(':');
        const labels = `route="${words[0]}",deployment="${words[1]}"`;
        shared[labels] = shared[labels] || 0;
    });
    REFUSALS.forEach((status) => {
        refused[`status="${status}"`] = refused[`status="${status}"`] || 0;
    });
    const tokens = {}, over = {};
    Object.keys(found).forEach((key) => {
        const words = key.split(' ');
        if (words[0] === 'tokens') {
            const where = `route="${words[1]}",deployment="${words[2]}"`;
            tokens[`${where},direction="${words[3]}"`] = found[key];
        } else if (words[0] === 'over') {
            over[`budget="${words[1]}",limit="${words[2]}",shadow="${words[3]}"`] = found[key];
        }
    });
    // Without a WAF there is nothing to be told of one.
    const looked = r.variables.lab_waf_mode ? WAF.map((what) => counter(
        `llmlab_waf_${what}`, WAF_SAID[what], { '': found[`waf ${what}`] || 0 })).join('') : '';
    const text = r.variables.lab_wanted
        + counter('llmlab_gateway_requests', 'Requests that an API was asked.', requests)
        + counter('llmlab_gateway_shared_requests', 'Those that the shares decided on.', shared)
        + counter('llmlab_gateway_refused', 'Requests that the gateway answered itself.', refused)
        + counter('llmlab_tokens', 'Tokens that models have read and written.', tokens)
        + counter('llmlab_budget_refused', 'Requests that did not fit a budget.', over)
        + looked
        + budgets.page()
        + histogram(all, found);
    r.headersOut['Content-Type'] = 'text/plain; version=0.0.4; charset=utf-8';
    r.return(200, text);
}

function counter(name, help, values) {
    const lines = Object.keys(values).sort().map((labels) =>
        `${name}_total${labels && `{${labels}}`} ${values[labels]}\n`);
    return head(`${name}_total`, help, 'counter') + lines.join('');
}

function histogram(names, found) {
    const name = 'llmlab_gateway_request_seconds';
    let text = head(name, 'From the first byte asked to the last one answered.', 'histogram');
    names.forEach((one) => {
        let total = 0;
        SECONDS.concat('+Inf').forEach((bound, place) => {
            total += found[`bucket ${one} ${place}`] || 0;
            text += `${name}_bucket{deployment="${one}",le="${bound}"} ${total}\n`;
        });
        text += `${name}_count{deployment="${one}"} ${total}\n`
            + `${name}_sum{deployment="${one}"} ${found[`seconds ${one}`] || 0}\n`;
    });
    return text;
}

function head(name, help, type) {
    return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

export default { count, page };
