// What became of a stream after its head, which has said 200: the log, the gate of a rollout and
// `top` go by it. Not part of the edition NGINX Plus, which has no njs.

// The comments that the API puts before an end that is none: BROKEN and GIVEN_UP of
// llmlab/service/events.py. In what a model has written, line ends are escaped.
const ENDS = { 1: '\n: broken off\n', 2: '\n: given up\n' };
const LONGEST = 14;

// What passes a script stays in memory until the answer is over: more of a stream is not looked at.
const MOST = 262144;

// Of this request, of which each has a script of its own.
let before;  // a comment may come in two pieces
let seen = 0;

function watch(r, piece, flags) {
    r.sendBuffer(piece, flags);
    seen += piece.length;
    const type = r.headersOut['Content-Type'] || '';
    if (!type.startsWith('text/event-stream') || seen > MOST) {
        r.done();
        return;
    }
    const joint = Buffer.concat([before || Buffer.from('\n'), piece.subarray(0, LONGEST)]);
    Object.keys(ENDS).forEach((outcome) => {
        if (joint.indexOf(ENDS[outcome]) >= 0 || piece.indexOf(ENDS[outcome]) >= 0) {
            r.variables.lab_broken = outcome;
        }
    });
    before = piece.length >= LONGEST ? piece.subarray(-LONGEST) : joint.subarray(-LONGEST);
}

export default { watch };
