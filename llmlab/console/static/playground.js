// Shows answers while they come. Without this, the page asks all the same, and waits for the whole.
'use strict';

const form = document.getElementById('ask');

function Playground() {
    const turns = document.getElementById('turns'), field = document.getElementById('said');
    const stop = document.getElementById('stop'), send = form.querySelector('button[type=submit]');
    const status = document.getElementById('said-so'), chat = form.dataset.kind === 'chat';
    let underWay = null;

    function tell(text) {
        status.textContent = text;
    }

    // One card for each that is asked, its name above what comes.
    function begin(said) {
        const turn = document.getElementById('turn').content.firstElementChild.cloneNode(true);
        const row = turn.querySelector('.two'), first = row.firstElementChild;
        if (chat) {
            turn.querySelector('.asked .text').textContent = said;
        } else {
            turn.querySelector('.asked').remove();
            turns.replaceChildren();
        }
        const sides = [form.elements.one, form.elements.two].filter((one) => one.value).map((one) => {
            const card = first.cloneNode(true), name = document.createElement('h3');
            name.textContent = one.value.slice(one.value.indexOf(':') + 1);
            card.prepend(name);
            card.classList.add('coming');
            card.setAttribute('aria-busy', 'true');
            row.append(card);
            return { card, text: card.querySelector('.text'), said: '', open: true };
        });
        first.remove();
        turns.append(turn);
        turn.scrollIntoView({ block: 'nearest' });
        return sides;
    }

    function close(side) {
        side.open = false;
        side.card.classList.remove('coming');
        side.card.removeAttribute('aria-busy');
    }

    function note(side, text, how = 'wrong') {
        const said = document.createElement('p');
        side.failed = true;
        said.className = `note ${how}`;
        said.textContent = text;
        side.card.append(said);
    }

    // The text as it is; what the server has marked comes as its own, escaped HTML.
    function hear(side, event) {
        if (event.piece) {
            side.said += event.piece;
            side.text.textContent = side.said;
        } else if (event.progress) {
            side.text.textContent = event.progress;
        } else if (event.html !== undefined) {
            const partly = event.ended ? null : side.text;
            const opened = [...side.card.querySelectorAll('details')].map((one) => one.open);
            side.card.innerHTML = event.html;
            side.card.querySelectorAll('details').forEach((one, at) => { one.open = Boolean(opened[at]); });
            if (partly && side.said) {  // what came before it broke off
                side.card.querySelector('.note').before(partly);
            }
            side.failed = !event.ended;
            close(side);
        }
    }

    async function listen(answer, sides) {
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = '';
        for (;;) {
            const { done, value } = await reader.read();
            if (done) {
                return;
            }
            const lines = (rest + value).split('\n');
            rest = lines.pop();
            for (const line of lines) {
                const event = JSON.parse(line);
                hear(sides[event.side], event);
            }
        }
    }

    // An error is a page of its own; of it only what was said is shown.
    async function refused(answer, sides) {
        if (answer.status === 401) {
            location.reload();
            return;
        }
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        const said = page.querySelector('.note');
        note(sides[0], said ? said.innerText.trim() : `The console answered with ${answer.status}.`);
    }

    async function ask() {
        const said = field.value, body = new URLSearchParams(new FormData(form));
        const sides = begin(said);
        underWay = new AbortController();
        send.disabled = true;
        stop.hidden = false;
        tell('The answer is coming.');
        let ended = 'The answer is there.';
        try {
            const answer = await fetch(form.action, {
                method: 'POST', body, headers: { Accept: 'application/x-ndjson' }, signal: underWay.signal,
            });
            await (answer.ok ? listen(answer, sides) : refused(answer, sides));
            sides.filter((one) => one.open && answer.ok).forEach((one) => note(one, 'The answer broke off.'));
            ended = sides.some((one) => one.failed) ? 'Not all of it was answered.' : ended;
        } catch (error) {
            const stopped = error.name === 'AbortError';
            ended = stopped ? 'Stopped.' : 'The console is not reached.';
            sides.filter((one) => one.open).forEach((one) => note(one, ended, stopped ? 'unsure' : 'wrong'));
        }
        sides.forEach(close);
        remember(said, sides);
        underWay = null;
        send.disabled = false;
        stop.hidden = true;
        tell(ended);
    }

    // An answer that was stopped is part of the conversation as far as it came.
    function remember(said, sides) {
        const answers = sides.map((one) => one.said);
        if (!chat || !answers.some((one) => one)) {
            return;
        }
        const told = JSON.parse(form.elements.turns.value || '[]');
        form.elements.turns.value = JSON.stringify([...told, { said, answers }]);
        if (field.value === said) {
            field.value = '';
        }
        if ([document.body, send, stop].includes(document.activeElement)) {
            field.focus({ preventScroll: true });
        }
    }

    form.addEventListener('submit', (event) => {
        event.preventDefault();
        if (!underWay) {
            ask();
        }
    });
    stop.addEventListener('click', () => underWay && underWay.abort());
    form.addEventListener('keydown', (event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            form.requestSubmit();
        }
    });
    // What a link would take along, it takes as it is chosen now.
    for (const link of document.querySelectorAll('#anew, .compose a[href*="text="]')) {
        link.addEventListener('click', () => {
            const address = new URL(link.href);
            for (const name of ['one', 'two']) {
                address.searchParams.set(name, form.elements[name].value);
            }
            link.href = address;
        });
    }
}

if (form) {
    Playground();
}
