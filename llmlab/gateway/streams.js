// Whether a stream ended with a failure of its model: its head has said 200 by then, and the log,
// the gate of a rollout and `top` go by the status. Not part of the edition NGINX Plus, which has
// no njs.

// The comment that the API puts before such an end: BROKEN of llmlab/service/events.py. In what a
// model has written, line ends are escaped.
const BROKEN = Buffer.from('\n: broken off\n');

let before = Buffer.from('\n');  // of this request's stream: the comment may come in two pieces

function watch(r, piece, flags) {
    if (!(r.headersOut['Content-Type'] || '').startsWith('text/event-stream')) {
        r.sendBuffer(piece, flags);
        r.done();
        return;
    }
    const seen = Buffer.concat([before, piece]);
    if (seen.indexOf(BROKEN) >= 0) {
        r.variables.lab_broken = '1';
    }
    before = seen.subarray(Math.max(0, seen.length - BROKEN.length));
    r.sendBuffer(piece, flags);
}

export default { watch };
