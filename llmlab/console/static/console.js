// Keeps the live part of a page up to date. What a page shows it shows without this as well.
'use strict';

const FIRST = 1000, LONGEST = 30000;  // milliseconds between two tries
const AWAY = 'The console is not reached; trying again.';
const TOO_MUCH = 'This page is not kept up to date: too much is asked of the console. Trying again.';

function say(text) {
    const place = document.getElementById('stream');
    if (place && place.textContent !== text) {
        place.textContent = text;
    }
}

// Whether somebody has made this attribute what it is: what they opened, typed, or chose.
function isOnes(name, node) {
    return (name === 'open' && node.tagName === 'DETAILS')
        || (name === 'value' && node.value !== node.defaultValue)
        || (name === 'checked' && node.checked !== node.defaultChecked)
        || (name === 'selected' && node.selected !== node.defaultSelected);
}

// Why there is no room for a live part, in the words of the answer: an EventSource tells nothing.
async function refusal(address) {
    const answer = await fetch(address, { cache: 'no-store' });
    if (answer.status !== 429) {
        answer.body?.cancel();  // there is room by now
        return '';
    }
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const told = [...page.querySelectorAll('[role=alert] p')].map((one) => one.textContent.trim());
    return told.length ? `This page is not kept up to date: ${told.join(' ')}` : TOO_MUCH;
}

// An EventSource gives up for good where the answer is no stream: while the console or the gateway
// starts again. So each try is one of its own, ever later; one who is signed out is led to that.
function follow(part) {
    let wait = FIRST, source = null, timer = 0, refused = '';
    const address = part.dataset.live + location.search;

    function leave() {
        clearTimeout(timer);
        if (source) {
            source.close();
            source = null;
        }
    }
    // Nobody looks at a page in the background, so nothing is asked for it: also not where it was
    // opened there, or went there while something was on its way.
    function connect() {
        leave();
        if (document.hidden) {
            return;
        }
        const mine = source = new EventSource(address);
        const hear = (name, act) => mine.addEventListener(name, (event) => {
            if (mine === source) {
                act(event);
            }
        });
        hear('open', () => { wait = FIRST; refused = ''; say(''); });
        hear('message', (event) => {
            // What somebody types into, or has opened, stays as it is.
            Idiomorph.morph(part, event.data, {
                morphStyle: 'innerHTML', ignoreActiveValue: true,
                callbacks: { beforeAttributeUpdated: (name, node) => !isOnes(name, node) },
            });
        });
        hear('again', () => {  // its time is over, and nothing is wrong
            leave();
            timer = setTimeout(connect, 200);
        });
        hear('error', () => {
            leave();
            say(refused || AWAY);
            timer = setTimeout(again, wait * (0.5 + Math.random()));
            wait = Math.min(2 * wait, LONGEST);
        });
    }
    async function again() {
        try {
            const answer = await fetch(address, { method: 'HEAD', cache: 'no-store' });
            if (answer.status === 401 || answer.status === 403) {
                location.reload();
                return;
            }
            refused = answer.status === 429 ? await refusal(address) : '';
            if (refused) {
                say(refused);
            }
        } catch (error) {
            // it is not there yet
        }
        if (!source) {  // nor has somebody come back to the page meanwhile
            connect();
        }
    }
    document.addEventListener('visibilitychange', () => {
        wait = FIRST;
        connect();
    });
    connect();
}

for (const part of document.querySelectorAll('[data-live]')) {
    follow(part);
}
// A form that is for looking (GET) needs no button to be pressed.
for (const form of document.querySelectorAll('form[data-at-once]')) {
    form.addEventListener('change', () => form.requestSubmit());
}
// On a narrow screen the menu scrolls: the page that one is on is to be seen in it.
const here = document.querySelector('.top nav [aria-current]');
if (here) {
    here.scrollIntoView({ inline: 'center', block: 'nearest' });
}
