// Keeps the live part of a page up to date. What a page shows it shows without this as well.
'use strict';

const FIRST = 1000, LONGEST = 30000;  // milliseconds between two tries

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

// An EventSource gives up for good where the answer is no stream: while the console or the gateway
// starts again. So each try is one of its own, ever later; one who is signed out is led to that.
function follow(part) {
    let wait = FIRST, source = null, timer = 0;
    const address = part.dataset.live + location.search;

    function connect() {
        timer = 0;
        source = new EventSource(address);
        source.onopen = () => { wait = FIRST; say(''); };
        source.onmessage = (event) => {
            // What somebody types into, or has opened, stays as it is.
            Idiomorph.morph(part, event.data, {
                morphStyle: 'innerHTML', ignoreActiveValue: true,
                callbacks: { beforeAttributeUpdated: (name, node) => !isOnes(name, node) },
            });
        };
        source.addEventListener('again', () => {  // its time is over, and nothing is wrong
            source.close();
            timer = setTimeout(connect, 200);
        });
        source.onerror = () => {
            source.close();
            say('The console is not reached; trying again.');
            timer = setTimeout(again, wait * (0.5 + Math.random()));
            wait = Math.min(2 * wait, LONGEST);
        };
    }
    async function again() {
        try {
            const answer = await fetch(location.href, { method: 'HEAD', cache: 'no-store' });
            if (answer.status === 401 || answer.status === 403) {
                location.reload();
                return;
            }
        } catch (error) {
            // it is not there yet
        }
        connect();
    }
    // Nobody looks at a page in the background, so nothing is asked for it.
    document.addEventListener('visibilitychange', () => {
        if (document.hidden) {
            clearTimeout(timer);
            source.close();
        } else {
            wait = FIRST;
            connect();
        }
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
