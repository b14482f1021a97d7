// The self-service page of mfad: shows one view at a time and asks the daemon for everything it shows. Tokens, seeds and
// codes live in variables of this module alone; a reload forgets them.

// What a refusal says to a person, by the `code` of the problem document (docs/errors.md).
const SENTENCES = {
  'malformed': problem =>
    `${inWords(problem.detail) ?? t('This entry cannot be used. Check it and try again.')} ${t('It did not count as an attempt.')}`,
  'unauthenticated': 'Your session has ended. Log in again.',
  'wrong-credentials': 'The name or the password is wrong.',
  'wrong-code': problem => wrongCode(problem),
  'challenge-ended': 'The time or the attempts for the second step are over. Begin again with the password.',
  'refresh-ended': 'Your session has ended. Log in again.',
  'forbidden': 'This is not allowed for you. Ask the administrator of the host.',
  'fresh-proof-required': 'This needs a second factor that was given in the last five minutes.',
  'fresh-login-required': 'This needs a login of the last five minutes. Log out, log in again and do it then.',
  'me-without-user': 'Your session has ended. Log in again.',
  'not-found': 'This is not there any more. The list may be out of date.',
  'method-not-allowed': 'The daemon does not know this operation. It may be older than this page.',
  'version': 'This was changed somewhere else in the meantime. Here is how it is now.',
  'name-taken': 'This name is taken. Choose another one.',
  'secret-name-taken': 'You have something of this name already. Choose another name.',
  'already-active': 'This factor is switched on already. Log in with it.',
  'no-factor': 'You have no such factor that is switched on.',
  'too-many-secrets': 'You have as many factors as there may be. Delete one first.',
  'idempotency-conflict': 'The same request is still under way, or was carried out a moment ago. Look at the list.',
  'unsupported': problem => inWords(problem.detail) ?? t('This cannot be done here. Ask the administrator of the host.'),
  'expired': 'This was not finished in time, or there were too many wrong answers. Begin again.',
  'body-too-large': 'That is too long.',
  'target-too-long': 'That is too long.',
  'headers-too-large': 'The browser sent too much with the request. Clear the cookies of this site and try again.',
  'unsupported-media-type': 'Something between this page and the daemon changed the request. Tell the administrator.',
  'factor-locked': 'Your factors are locked after too many wrong codes. Waiting does not help: ask the administrator to unlock them.',
  'too-many-attempts': problem =>
    t('There were too many wrong attempts. Try again in {0}; until then right answers are refused as well.', duration(problem.retryAfter)),
  'internal': problem => t('The daemon failed. Nothing was let through. Tell the administrator this number: {0}', problem.requestId),
  'busy': problem => t('The daemon is busy. Try again in {0}.', duration(problem.retryAfter)),
  'storage-unavailable': problem =>
    t('The daemon cannot write at the moment, so nothing was changed. Try again in {0}.', duration(problem.retryAfter)),
  'storage-damaged': problem => t('The daemon’s store is damaged. Nothing was let through. Tell the administrator this number: {0}', problem.requestId),
  'not-ready': 'The daemon cannot work at the moment. Try again in a moment.',
};

// What the browser's refusals mean, by the name of the exception (WebAuthn level 3, sections 5.1.3 and 5.1.4).
const KEY_SENTENCES = {
  'NotAllowedError': 'No key answered: it was cancelled, took too long, or the key does not belong to this account. Try again.',
  'InvalidStateError': 'This key is registered already. Take another one.',
  'AbortError': 'Stopped. Nothing was changed.',
  'SecurityError': 'Security keys do not work under this address. The administrator has set them up for another one.',
  'NotSupportedError': 'This key cannot sign with ES256, the kind of signature that is needed here. Some computers with a built-in key offer only RS256. Take another key, or an authenticator app.',
  'ConstraintError': 'This key cannot check who touches it, and that is asked for. Set a PIN on it, or take another one.',
};

const WAYS = ['totp', 'fido2', 'recovery'];
const API = new URL('../v1/', document.baseURI);
const EARLY = 30_000;

const find = id => document.getElementById(id);

// ---- the language

let words = new Map();

// A text of the page in the language of the user. `{0}` stands for the first of the values.
function t(text, ...values) {
  return (words.get(text) ?? text).replace(/\{(\d)\}/g, (_, at) => String(values[at]));
}

// ---- the daemon

class Refusal extends Error {
  constructor(problem) {
    super(problem.code);
    this.problem = problem;
  }
}

// What is no answer of the daemon; the message is for the user.
class Trouble extends Error {}

// The user changed their mind; there is nothing to say.
class Cancelled extends Error {}

// The session is over and the login view says so already.
class Ended extends Error {}

let session = null;
let user = null;
let site = 'mfad';
let refreshing = null;

// One call. With a `key` (Idempotency-Key) it is sent once more if its answer was lost: what is shown only once must arrive.
async function call(method, path, { token, body, key } = {}) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `jwt ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  // A 401 about a password names HTTP's Basic scheme, for which a browser would open a dialog of its own.
  const credentials = path === 'auth/password' ? 'omit' : 'same-origin';
  const options = { method, headers, credentials, cache: 'no-store', redirect: 'error', referrerPolicy: 'no-referrer' };
  let answer, content;
  for (let tries = key ? 2 : 1; tries > 0 && content === undefined; tries -= 1) {
    try {
      answer = await fetch(new URL(path, API), { ...options, body: body && JSON.stringify(body) });
      content = answer.status === 204 ? null : await answer.json();
    } catch {
      content = undefined;
    }
  }
  if (content === undefined) {
    throw new Trouble(answer && ![502, 503, 504].includes(answer.status)
      ? t('Something other than the daemon answered, with status {0}. Tell the administrator if it goes on.', answer.status)
      : t('The daemon cannot be reached. If you sent a code, it may be used up: take the next one.'));
  }
  if (answer.ok) return content;
  throw new Refusal({ ...content, status: answer.status });
}

function begin(grant) {
  session = { kind: grant.type, token: grant.token, refresh: grant.refresh, ends: Date.now() + grant.expiresIn * 1000 };
}

function forget() {
  session = null;
  user = null;
  refreshing = null;
  find('who').hidden = true;
  find('password-form').reset();
  clearEnrolment();
}

function endSession(text, kind = 'note') {
  forget();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  show('login', text, kind);
}

// A refresh token is good once, so two callers share one exchange.
async function refresh() {
  const mine = session;
  refreshing ??= call('POST', 'auth/refresh', { token: mine.refresh })
    .then(grant => { if (session === mine) begin(grant); })
    .finally(() => { refreshing = null; });
  try {
    await refreshing;
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem.status !== 401) throw error;
    if (session === mine) endSession(sentence(error));
    throw new Ended();
  }
}

// A call with the user's token. The token is renewed before it ends, and once if it is refused.
async function asUser(method, path, body) {
  if (!session) throw new Ended();
  if (session.refresh && Date.now() > session.ends - EARLY) await refresh();
  const send = () => {
    if (!session) throw new Ended();
    const key = ['POST', 'PUT'].includes(method) ? text64(crypto.getRandomValues(new Uint8Array(18))) : undefined;
    return call(method, path, { token: session.token, body, key });
  };
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem.code !== 'unauthenticated') throw error;
    if (!session?.refresh) {
      endSession(sentence(error));
      throw new Ended();
    }
    await refresh();
    return await send();
  }
}

// Does it, and once more after a step-up if a fresh proof is wanted.
async function proven(action, work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem.code !== 'fresh-proof-required') throw error;
    await stepUp(action);
    return await work();
  }
}

// ---- words

function sentence(error) {
  if (error instanceof Refusal) {
    const { code, detail, status } = error.problem;
    const known = SENTENCES[code];
    if (typeof known === 'function') return known(error.problem);
    if (known) return t(known);
    return inWords(detail) ?? t('The daemon refused this, with status {0} ({1}). Tell the administrator if it goes on.', status, code);
  }
  if (error instanceof DOMException) {
    const known = KEY_SENTENCES[error.name];
    return known ? t(known) : t('The browser refused: {0}', error.message);
  }
  return error.message;
}

// The daemon's text as a sentence, unless it names parts of the request, which users never see.
function inWords(detail) {
  if (!detail || detail.includes('`')) return undefined;
  return t(`${detail[0].toUpperCase()}${detail.slice(1)}${/[.?!]$/.test(detail) ? '' : '.'}`);
}

function wrongCode({ status, diagnosis, remaining }) {
  const isEnrolment = status === 422;
  const said = isEnrolment && diagnosis ? diagnose(diagnosis, enrolling) : t('This is wrong, or was used before. Take the next code.');
  if (isEnrolment && remaining === 0) return t('The answer is wrong, and no attempt is left. Begin again.');
  return remaining === undefined ? said : `${said} ${t('{0} left.', count(remaining, 'attempt'))}`;
}

// What is wrong with the device, if its code is right for another profile or another time.
function diagnose(diagnosis, wanted) {
  const differences = [
    ['algorithm', value => value.replace('SHA', 'SHA-')],
    ['digits', value => t('{0} digits', value)],
    ['period', value => t('a new code every {0} seconds', value)],
  ].filter(([member]) => diagnosis[member] !== undefined && diagnosis[member] !== wanted?.[member]);
  const said = differences.map(([member, words]) =>
    t('The app uses {0} where {1} is meant; set it up again from the picture.', words(diagnosis[member]), words(wanted[member])));
  const drift = diagnosis.driftSeconds;
  if (drift) {
    const way = t(drift > 0 ? '{0} ahead' : '{0} behind', duration(Math.abs(drift)));
    // Clocks drift by minutes. More is the difference of two time zones.
    said.push(Math.abs(drift) > 1800
      ? t('Your device is {0}, which is a time zone. Let it set its time zone and its time by itself.', way)
      : t('The clock of your device is {0}. Let it set its time by itself.', way));
  }
  return said.join(' ') || t('The code is wrong.');
}

function count(number, noun) {
  return t(`{0} ${noun}${number === 1 ? '' : 's'}`, number);
}

function duration(seconds) {
  if (seconds < 120) return count(seconds, 'second');
  const all = Math.round(seconds / 60);
  const [hours, minutes] = [Math.floor(all / 60), all % 60];
  if (hours === 0) return t('about {0}', count(minutes, 'minute'));
  return minutes === 0 ? count(hours, 'hour') : `${count(hours, 'hour')} ${count(minutes, 'minute')}`;
}

function clock(text) {
  const time = new Date(text);
  const two = number => String(number).padStart(2, '0');
  return {
    day: `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`,
    hour: `${two(time.getHours())}:${two(time.getMinutes())}`,
  };
}

// ---- views and messages

function show(view, text = '', kind = 'note') {
  for (const section of document.querySelectorAll('main > section')) section.hidden = section.id !== view;
  const title = find(`${view}-title`);
  document.title = `${title.textContent} – ${site}`;
  window.scrollTo(0, 0);
  (view === 'login' ? firstEmpty(find('login-form')) : title).focus();
  say(find(view), '');
  // After the move of the focus, so that screen readers read it as news.
  if (text) setTimeout(() => say(find(view), text, kind));
}

function firstEmpty(form) {
  const fields = [...form.querySelectorAll('input:not([type=radio])')];
  return fields.find(input => !input.value && input.offsetParent) ?? form.querySelector('button');
}

function say(place, text, kind = 'note') {
  const line = place.querySelector('.message');
  line.className = `message is-${kind}`;
  line.setAttribute('role', kind === 'error' ? 'alert' : 'status');
  line.textContent = text;
  if (kind === 'error') line.scrollIntoView({ block: 'nearest' });
}

// Where the message of a form or button stands.
function placeOf(node) {
  return node.closest('dialog, main > section') ?? document.querySelector('main > section:not([hidden])');
}

const waiting = new WeakSet();

// Runs what a button is for: once at a time, and with a sentence if it fails. A delay of the daemon is waited for.
async function attempt(button, work) {
  if (waiting.has(button)) return;
  const place = placeOf(button);
  waiting.add(button);
  button.setAttribute('aria-disabled', 'true');
  say(place, '');
  let retryAfter;
  try {
    await work();
  } catch (error) {
    if (error instanceof Cancelled || error instanceof Ended) return;
    if (![Refusal, Trouble, DOMException].some(kind => error instanceof kind)) reportError(error);
    if (error instanceof Refusal && error.problem.code === 'challenge-ended') return endSession(sentence(error), 'error');
    say(place, sentence(error), error instanceof DOMException && error.name === 'AbortError' ? 'note' : 'error');
    if (error instanceof Refusal && error.problem.status === 429) retryAfter = error.problem.retryAfter;
  } finally {
    if (!retryAfter) release(button);
  }
  if (retryAfter) countDown(button, place, retryAfter);
}

function release(button) {
  waiting.delete(button);
  button.removeAttribute('aria-disabled');
}

// The button tells the seconds; the message does not change, or screen readers would read each of them.
function countDown(button, place, seconds) {
  const label = button.textContent;
  const ends = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((ends - Date.now()) / 1000);
    button.textContent = left > 0 ? t('{0} (wait {1} s)', label, left) : label;
    if (left > 0) return;
    clearInterval(timer);
    release(button);
    if (!place.hidden) say(place, t('You can try again now.'));
  };
  const timer = setInterval(tick, 250);
  tick();
}

function onSubmit(form, work) {
  form.addEventListener('submit', event => {
    event.preventDefault();
    const missing = [...form.querySelectorAll('input')].find(input => input.offsetParent && input.required && !input.value.trim());
    if (missing) {
      say(placeOf(form), t('“{0}” is missing.', labelOf(missing)), 'error');
      missing.focus();
      return;
    }
    attempt(form.querySelector('button.main'), () => work(new FormData(form)));
  });
}

function labelOf(input) {
  return input.closest('label').textContent.trim();
}

function onClick(id, work) {
  find(id).addEventListener('click', event => attempt(event.currentTarget, work));
}

function element(name, members = {}, ...children) {
  const made = Object.assign(document.createElement(name), members);
  made.append(...children);
  return made;
}

// ---- proof: the second step of a login, and step-up

// A form that asks for one of the ways, the first one chosen, and gives it to `send` as the members of a request.
function proofForm(place, ways, { options, send, cancel }) {
  const form = find('proof').content.firstElementChild.cloneNode(true);
  const offered = ways.filter(way => WAYS.includes(way) && (way !== 'fido2' || window.PublicKeyCredential));
  const stop = form.querySelector('.stop');
  let abort = null;

  const choose = way => {
    abort?.abort();
    for (const part of form.querySelectorAll('[data-for]')) {
      part.hidden = part.dataset.for !== way;
      for (const input of part.querySelectorAll('input')) input.required = !part.hidden;
    }
    form.querySelector('button.main').textContent = t(way === 'fido2' ? 'Use the security key' : 'Continue');
  };
  for (const label of form.querySelectorAll('[data-way]')) {
    if (offered.includes(label.dataset.way)) {
      label.firstElementChild.addEventListener('change', event => choose(event.target.value));
    } else {
      label.remove();
    }
  }
  form.querySelector('.ways').append(...offered.map(way => form.querySelector(`[data-way=${way}]`)));
  form.querySelector('.ways').hidden = offered.length < 2;
  form.querySelector('.close').hidden = !cancel;
  form.querySelector('.close').addEventListener('click', () => cancel?.());
  stop.addEventListener('click', () => abort?.abort());

  place.replaceChildren(form);
  onSubmit(form, async data => {
    const way = data.get('way');
    try {
      if (way === 'totp') return await send(way, { token: data.get('token').replace(/\s/g, '') });
      if (way === 'recovery') return await send(way, { code: data.get('code').replace(/\s/g, '').toUpperCase() });
      abort = new AbortController();
      stop.hidden = false;
      const { publicKey } = await options();
      say(placeOf(form), t('Waiting for the security key. Touch it when it blinks.'));
      await send(way, { credential: await askKey(publicKey, abort.signal) });
    } finally {
      stop.hidden = true;
      abort = null;
      for (const input of form.querySelectorAll('input:not([type=radio])')) input.value = '';
    }
  });

  if (!offered.length) {
    say(placeOf(place), t('This browser can use none of your factors.'), 'error');
    form.hidden = true;
    return { focus: () => {}, end: () => {} };
  }
  form.querySelector(`[value=${offered[0]}]`).checked = true;
  choose(offered[0]);
  return { focus: () => firstEmpty(form).focus(), end: () => { abort?.abort(); form.remove(); } };
}

let secondStep = null;

function askSecond(challenge) {
  const { token, methods } = challenge;
  const doors = { totp: 'auth/totp', recovery: 'auth/recovery', fido2: 'auth/fido2' };
  show('second');
  secondStep?.end();
  const step = secondStep = proofForm(find('second').querySelector('.proof-place'), methods, {
    options: () => call('POST', 'auth/fido2/options', { token }),
    send: async (way, body) => {
      let grant;
      try {
        grant = await call('POST', doors[way], { token, body });
      } catch (error) {
        if (error instanceof Refusal && error.problem.code === 'wrong-code' && error.problem.remaining === 0) {
          return endSession(t('That was wrong too, and no attempt is left. Begin again with the password.'), 'error');
        }
        throw error;
      }
      if (secondStep !== step) throw new Cancelled();
      begin(grant);
      secondStep.end();
      await enter(grant);
    },
  });
  secondStep.focus();
}

// Asks for a second factor for this action. Resolves when there is a fresh token.
async function stepUp(action) {
  const { secrets } = await asUser('GET', 'users/me/secrets');
  // The one that was used last comes first. Backup codes are for emergencies.
  const rank = secret => (secret.type === 'mfabackup' ? '' : secret.lastUsed ?? '0');
  const active = secrets.filter(secret => secret.status === 'active');
  const ways = new Set(active.sort((one, other) => rank(other).localeCompare(rank(one))).map(wayOf));
  const dialog = find('step-up');
  find('step-up-action').textContent = action;
  say(dialog, '');
  dialog.showModal();
  let isDone = false;
  const closed = new Promise(resolve => dialog.addEventListener('close', resolve, { once: true }));
  const form = proofForm(dialog.querySelector('.proof-place'), [...ways], {
    options: () => asUser('POST', 'auth/fido2/options'),
    send: async (way, body) => {
      const grant = await asUser('POST', 'auth/stepup', { ...body, action });
      Object.assign(session, { token: grant.token, ends: Date.now() + grant.expiresIn * 1000 });
      isDone = true;
      dialog.close();
    },
    cancel: () => dialog.close(),
  });
  form.focus();
  await closed;
  form.end();
  if (!session) throw new Ended();
  if (!isDone) throw new Cancelled();
}

function wayOf(secret) {
  if (secret.type === 'mfa') return 'totp';
  if (secret.type === 'mfabackup' && secret.remaining > 0) return 'recovery';
  return secret.type;
}

// ---- login

onSubmit(find('login-form'), async data => {
  const form = find('login-form');
  const grant = await call('POST', 'auth/password', { body: { id: data.get('id').trim(), password: data.get('password') } })
    .finally(() => { form.elements.password.value = ''; });
  if (grant.type === 'CHALLENGE') return askSecond(grant);
  begin(grant);
  await enter(grant);
});

// What comes after a login.
async function enter(grant) {
  user = await asUser('GET', 'users/me');
  find('user-name').textContent = user.displayName ?? user.name;
  find('who').hidden = false;
  if (session.kind === 'ENROLL') {
    return openAddApp(t('This host asks everybody for a second factor. Set one up now; until then nothing else can be done.'));
  }
  const { remaining, warning } = grant;
  if (remaining === undefined && warning) {
    return await openFactors(t('The secret of this app is short. Add a new one below, then remove this one.'), 'warning');
  }
  if (remaining === undefined) return await openFactors();
  const said = `${t('That backup code is used up.')} ${t('{0} left.', count(remaining, 'code'))}`;
  await openFactors(warning ? `${said} ${t('Make new ones below.')}` : said, warning ? 'warning' : 'note');
}

onClick('start-again', () => {
  secondStep?.end();
  secondStep = null;
  find('login-form').elements.id.value = '';
  endSession('');
});

onClick('log-out', async () => {
  try {
    if (session?.kind === 'ACCESS') await asUser('POST', 'auth/logout');
  } finally {
    find('login-form').elements.id.value = '';
    if (session) endSession(t('You are logged out.'));
  }
});

// ---- the list

async function openFactors(text, kind) {
  const [{ secrets }, current] = await Promise.all([asUser('GET', 'users/me/secrets'), asUser('GET', 'users/me')]);
  user = current;
  fillFactors(secrets);
  show('factors', text, kind);
}

function fillFactors(secrets) {
  const backup = secrets.find(secret => secret.type === 'mfabackup');
  const factors = secrets.filter(isActiveFactor);
  // An imported factor is asked for too, unless the settings allow the password alone until its first code.
  find('state').textContent = ['active', 'imported'].includes(user.mfa)
    ? t('Two-step login is on: the password alone lets nobody in.')
    : t('Two-step login is off: whoever has your password gets in. Add a factor to change that.');
  find('rows').replaceChildren(...secrets.filter(secret => secret !== backup).map(secret => row(secret, factors)));
  find('backup').hidden = !['active', 'imported'].includes(user.mfa);
  const left = backup?.remaining ?? 0;
  find('codes-left').textContent = left <= 3 ? t('{0} of 10 left. Make new ones soon.', left) : t('{0} of 10 left.', left);
  find('pips').replaceChildren(...Array.from({ length: 10 }, (_, at) => element('i', { className: at < left ? 'is-left' : '' })));
}

function isActiveFactor(secret) {
  return ['mfa', 'fido2'].includes(secret.type) && secret.status === 'active';
}

function row(secret, factors) {
  const isPending = secret.status === 'pending';
  const cells = [
    cell('', secret.name),
    cell(t('Type'), ...kindOf(secret)),
    cell(t('Status'), isPending ? t('pending until {0}', clock(secret.expires).hour) : t(secret.status)),
    cell(t('Last used'), secret.lastUsed ? timeOf(secret.lastUsed) : t('never')),
    cell('', ...actionsOf(secret, factors)),
  ];
  cells[2].classList.toggle('is-pending', isPending);
  const made = element('tr', {}, ...cells);
  made.setAttribute('role', 'row');
  return made;
}

function cell(label, ...content) {
  const made = element('td', {}, ...content);
  made.setAttribute('role', 'cell');
  if (label) made.dataset.label = label;
  return made;
}

function kindOf(secret) {
  const profile = element('small', { textContent: profileOf(secret) });
  if (secret.device) return [`${t('Hardware key')} `, element('small', { textContent: t('OATH · serial {0}', secret.device.serial) })];
  if (secret.type === 'mfa') return [`${t(secret.kind === 'hotp' ? 'Counter token' : 'Authenticator app')} `, profile];
  return [t({ fido2: 'Security key', password: 'Password', apikey: 'API key' }[secret.type] ?? secret.type)];
}

function profileOf({ kind, algorithm, digits, period }) {
  return [kind?.toUpperCase(), algorithm, t('{0} digits', digits), period && `${period} s`].filter(Boolean).join(' · ');
}

function timeOf(text) {
  const { day, hour } = clock(text);
  return element('time', { dateTime: text, title: text, textContent: `${day} ${hour}` });
}

function actionsOf(secret, factors) {
  const button = (words, className, work) => {
    const made = element('button', { type: 'button', className: `quiet ${className}`, textContent: words });
    made.setAttribute('aria-label', `${made.textContent} ${secret.name}`);
    made.addEventListener('click', () => attempt(made, work));
    return made;
  };
  if (secret.type === 'password') {
    return [element('span', { className: 'actions' }, button(t('Change'), '', () => openPassword()))];
  }
  const made = [button(t('Rename'), '', () => rename(secret)), button(t('Delete'), 'danger', () => remove(secret, factors))];
  if (secret.status === 'pending' && secret.type === 'mfa' && !secret.device) {
    made.unshift(button(t('Enter the code'), '', () => openFirstCode(secret)));
  }
  return [element('span', { className: 'actions' }, ...made)];
}

let renaming = null;

function rename(secret) {
  renaming = secret;
  const input = find('rename-form').elements.name;
  input.value = secret.name;
  say(find('rename'), '');
  find('rename').showModal();
  input.select();
}

onSubmit(find('rename-form'), async data => {
  const { uid, version } = renaming;
  const name = data.get('name').trim();
  try {
    await asUser('PUT', `users/me/secrets/${uid}`, { name, version });
  } catch (error) {
    if (!(error instanceof Refusal) || !['version', 'not-found'].includes(error.problem.code)) throw error;
    find('rename').close();
    return await openFactors(sentence(error), 'error');
  }
  find('rename').close();
  await openFactors(t('Renamed to “{0}”.', name));
});

function openPassword() {
  find('password-form').reset();
  say(find('change-password'), '');
  find('change-password').showModal();
  find('password-form').elements.current.focus();
}

// What was typed must not wait in the page for the next person.
find('change-password').addEventListener('close', () => find('password-form').reset());

onSubmit(find('password-form'), async data => {
  const [current, secret] = [data.get('current'), data.get('secret')];
  if (secret !== data.get('again')) throw new Trouble(t('The new password and its repetition differ.'));
  // As the daemon counts it.
  const size = new TextEncoder().encode(secret).length;
  if (size < 8) throw new Trouble(t('A password has at least 8 characters.'));
  if (size > 1024) throw new Trouble(t('A password has at most 1024 characters.'));
  try {
    await proven(t('change the password'), () => asUser('PUT', 'users/me/secrets/password', { secret, current }));
  } catch (error) {
    if (!(error instanceof Refusal) || error.problem.code !== 'wrong-credentials') throw error;
    throw new Trouble(t('The current password is wrong.'));
  }
  find('password-form').reset();
  find('change-password').close();
  find('login-form').elements.id.value = user.name;
  endSession(t('Your password is changed, and your sessions have ended. Log in with the new one.'));
});

async function remove(secret, factors) {
  const isFactor = isActiveFactor(secret);
  const isLast = isFactor && factors.length === 1;
  await confirmed(t('Delete “{0}”?', secret.name), [
    isLast ? t('It is your last factor: from then on the password alone lets you in, and the backup codes go with it.') : '',
    isFactor && !isLast ? t('What this device answers is not taken any more.') : '',
    t(isFactor ? 'All your sessions end, this one as well.' : 'This cannot be undone.'),
    secret.device ? t('The account on the key is erased at its next contact with the host.') : '',
  ].filter(Boolean).join(' '), t('Delete'), t('Keep it'));
  await proven(t('delete “{0}”', secret.name), () => asUser('DELETE', `users/me/secrets/${secret.uid}`));
  const done = t('“{0}” is deleted.', secret.name);
  if (isFactor) return endSession(`${done} ${t('Log in again.')}`);
  await openFactors(done);
}

async function confirmed(title, text, yes, no) {
  const dialog = find('confirm');
  find('confirm-yes').textContent = yes;
  find('confirm-no').textContent = no;
  find('confirm-title').textContent = title;
  find('confirm-text').textContent = text;
  dialog.returnValue = '';
  dialog.showModal();
  await new Promise(resolve => dialog.addEventListener('close', resolve, { once: true }));
  if (dialog.returnValue !== 'yes') throw new Cancelled();
}

// ---- an authenticator app

let enrolling = null;

function clearEnrolment() {
  enrolling = null;
  find('qr').removeAttribute('src');
  find('seed').textContent = '';
  find('app-link').removeAttribute('href');
  find('code-list').replaceChildren();
  window.removeEventListener('beforeunload', holdBack);
  for (const id of ['app-name-form', 'first-code-form', 'key-form']) find(id).reset();
}

function openAddApp(text, kind) {
  clearEnrolment();
  find('app-panel').hidden = true;
  find('app-name-form').hidden = false;
  const isForced = session.kind === 'ENROLL';
  find('app-name-form').querySelector('.back').hidden = isForced;
  find('key-instead').parentElement.hidden = !isForced || !window.PublicKeyCredential;
  show('add-app', text, kind);
  find('app-name-form').elements.name.focus();
}

onClick('to-add-app', () => openAddApp());
onClick('app-instead', () => openAddApp());

onSubmit(find('app-name-form'), async data => {
  const name = data.get('name').trim();
  const order = { type: 'mfa', ...(name && { name }) };
  const secret = await proven(t('add an authenticator app'), () => asUser('POST', 'users/me/secrets?qr=svg', order));
  find('qr').src = `data:image/svg+xml,${encodeURIComponent(secret.qr)}`;
  find('seed').textContent = secret.secret.secret.replace(/.{4}(?=.)/g, '$& ');
  find('profile').textContent = t('Account {0} · {1}', user.name, profileOf(secret));
  if (secret.secret.otpauth_url.startsWith('otpauth://')) find('app-link').href = secret.secret.otpauth_url;
  openFirstCode(secret);
});

function openFirstCode(secret) {
  enrolling = secret;
  const isNew = Boolean(secret.secret);
  find('picture').hidden = !isNew;
  find('seed-part').hidden = !isNew;
  find('app-panel').classList.toggle('enrolment', isNew);
  find('app-name-form').hidden = true;
  find('app-panel').hidden = false;
  find('first-code-hint').textContent = t('{0} digits. There is time until {1}.', secret.digits, clock(secret.expires).hour);
  show('add-app');
  find('first-code-form').elements.token.value = '';
  if (!isNew) find('first-code-form').elements.token.focus();
}

onClick('copy-seed', () => copy(find('seed').textContent.replaceAll(' ', ''), find('add-app'), t('The key is copied.')));

onSubmit(find('first-code-form'), async data => {
  const token = data.get('token').replace(/\s/g, '');
  const { uid, name } = enrolling;
  const form = find('first-code-form');
  try {
    await enrolled(name, () => asUser('PUT', `users/me/secrets/${uid}/enroll?session=true`, { token }));
  } catch (error) {
    form.elements.token.value = '';
    form.elements.token.focus();
    const isOver = error instanceof Refusal && (error.problem.code === 'expired' || error.problem.remaining === 0);
    if (!isOver) throw error;
    openAddApp(sentence(error), 'error');
  }
});

// The last step of either kind of factor. It ends all tokens; the answer has a session in place of this one.
async function enrolled(name, work) {
  const [mine, owner] = [session, user.name];
  const { codes, session: renewed } = await proven(t('add “{0}”', name), work);
  clearEnrolment();
  find('login-form').elements.id.value = owner;
  // The codes are shown in any case: nothing repeats them. Who has logged out meanwhile stays so.
  if (renewed && session === mine) begin(renewed);
  else forget();
  const done = t('“{0}” is switched on.', name);
  if (codes.length === 0 && !session) return endSession(`${done} ${t('Log in again.')}`);
  if (codes.length === 0) return await openFactors(`${done} ${t('Your sessions in other places have ended.')}`);
  showCodes(codes, `${done} ${t('From now on a login takes the password and one of your factors.')} `
    + t('These ten codes are for the day when none is at hand.'));
}

for (const back of document.querySelectorAll('.back')) {
  back.addEventListener('click', () => attempt(back, async () => {
    const abandoned = enrolling;
    keyWait?.abort();
    clearEnrolment();
    // As far as that is allowed; otherwise it ends by itself.
    if (abandoned?.secret) await asUser('DELETE', `users/me/secrets/${abandoned.uid}`).catch(() => {});
    if (session?.kind === 'ENROLL') return openAddApp();
    await openFactors();
  }));
}

// ---- a security key

let keyWait = null;

function openAddKey() {
  clearEnrolment();
  const isForced = session.kind === 'ENROLL';
  find('key-form').querySelector('.back').hidden = isForced;
  find('app-instead').parentElement.hidden = !isForced;
  show('add-key');
  find('key-form').elements.name.focus();
}

onClick('to-add-key', openAddKey);
onClick('key-instead', openAddKey);
find('key-form').querySelector('.stop').addEventListener('click', () => keyWait?.abort());

onSubmit(find('key-form'), async data => {
  const name = data.get('name').trim();
  const order = { type: 'fido2', ...(name && { name }) };
  const stop = find('key-form').querySelector('.stop');
  const secret = await proven(t('add a security key'), () => asUser('POST', 'users/me/secrets', order));
  const wait = keyWait = new AbortController();
  try {
    stop.hidden = false;
    say(find('add-key'), t('Waiting for the security key. Touch it when it blinks.'));
    const credential = await makeKey(secret.secret.publicKey, wait.signal);
    await enrolled(secret.name, () => asUser('PUT', `users/me/secrets/${secret.uid}/enroll?session=true`, { credential }));
  } catch (error) {
    // What the browser refused can never be finished; as far as that is allowed, it goes now.
    if (error instanceof DOMException) await asUser('DELETE', `users/me/secrets/${secret.uid}`).catch(() => {});
    throw error;
  } finally {
    stop.hidden = true;
    if (keyWait === wait) keyWait = null;
  }
});

async function makeKey(json, signal) {
  const parse = PublicKeyCredential.parseCreationOptionsFromJSON;
  const options = withoutNulls(json);
  const publicKey = parse ? parse.call(PublicKeyCredential, options) : {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: (options.excludeCredentials ?? []).map(known => ({ ...known, id: bytes(known.id) })),
  };
  return toJson(await navigator.credentials.create({ publicKey, signal }));
}

async function askKey(json, signal) {
  const parse = PublicKeyCredential.parseRequestOptionsFromJSON;
  const options = withoutNulls(json);
  const publicKey = parse ? parse.call(PublicKeyCredential, options) : {
    ...options,
    challenge: bytes(options.challenge),
    allowCredentials: (options.allowCredentials ?? []).map(known => ({ ...known, id: bytes(known.id) })),
  };
  return toJson(await navigator.credentials.get({ publicKey, signal }));
}

// In WebAuthn a member that is absent is left out; `null` would be an error.
function withoutNulls(value) {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (value === null || typeof value !== 'object') return value;
  const members = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(members.map(([name, member]) => [name, withoutNulls(member)]));
}

// RegistrationResponseJSON and AuthenticationResponseJSON (WebAuthn level 3, sections 5.1 and 5.2), also where the browser has no toJSON.
function toJson(credential) {
  if (credential.toJSON) return credential.toJSON();
  const { response } = credential;
  const made = { clientDataJSON: text64(response.clientDataJSON) };
  for (const member of ['attestationObject', 'authenticatorData', 'signature', 'userHandle']) {
    if (response[member]) made[member] = text64(response[member]);
  }
  if (response.getTransports) made.transports = response.getTransports();
  return {
    id: credential.id,
    rawId: text64(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: made,
  };
}

function bytes(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), letter => letter.charCodeAt(0));
}

function text64(buffer) {
  const binary = Array.from(new Uint8Array(buffer), byte => String.fromCharCode(byte)).join('');
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

// ---- backup codes

onClick('renew', async () => {
  const text = t('The old ones stop working at once. All your sessions end, this one as well.');
  await confirmed(t('Make new backup codes?'), text, t('Make new ones'), t('Keep the old ones'));
  const { codes } = await proven(t('make new backup codes'), () => asUser('POST', 'users/me/codes'));
  const { name } = user;
  forget();
  find('login-form').elements.id.value = name;
  showCodes(codes, t('These are your new codes. The old ones do not work any more.'));
});

function showCodes(codes, why) {
  find('codes-why').textContent = why;
  find('code-list').replaceChildren(...codes.map(code => element('li', { textContent: code })));
  window.addEventListener('beforeunload', holdBack);
  find('codes-kept').textContent = t(session ? 'I have kept them' : 'I have kept them: log in again');
  show('codes');
}

function holdBack(event) {
  event.preventDefault();
}

function codesAsText() {
  const codes = [...find('code-list').children].map(item => item.textContent);
  const { day, hour } = clock(Date.now());
  const owner = find('login-form').elements.id.value;
  const head = [t('Backup codes of {0} at {1}', owner, location.host), t('made {0} {1}, each works once', day, hour)];
  return [...head, '', ...codes, ''].join('\n');
}

onClick('copy-codes', () => copy(codesAsText(), find('codes'), t('The codes are copied. Clear the clipboard when you have put them away.')));

onClick('download-codes', () => {
  const url = URL.createObjectURL(new Blob([codesAsText()], { type: 'text/plain' }));
  const owner = find('login-form').elements.id.value.replace(/[^\p{L}\p{N}._-]+/gu, '-');
  element('a', { href: url, download: `backup-codes-${owner}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  say(find('codes'), t('The file is in your downloads. Put it where others cannot read it.'));
});

onClick('print-codes', () => window.print());

onClick('codes-kept', async () => {
  if (!session) return endSession(t('That ended your sessions. Log in again. A code that was sent is used up, so take the next one.'));
  clearEnrolment();
  await openFactors();
});

async function copy(text, place, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    throw new Trouble(t('The browser does not let this page copy. Select the text and copy it by hand.'));
  }
  say(place, done);
}

// ---- beginning

for (const close of document.querySelectorAll('dialog > form .close')) {
  close.addEventListener('click', () => close.closest('dialog').close());
}

// A page that comes back out of the history would still have what it knew.
window.addEventListener('pageshow', event => { if (event.persisted) location.reload(); });

// The name that the administrator gave this site, as it stands in authenticator apps.
async function nameSite() {
  const { issuer } = await call('GET', 'auth');
  if (!issuer || issuer === 'mfad') return;
  site = issuer;
  find('site').textContent = issuer;
  document.title = document.title.replace(/mfad$/, () => issuer);
}

// The words of another language, if the administrator has a file of them and the browser asks for it.
async function speak() {
  const answer = await fetch(new URL('words.json', document.baseURI), { credentials: 'omit', cache: 'no-store' });
  const { language, words: found } = await answer.json();
  const wanted = navigator.languages.map(tag => tag.toLowerCase().split('-')[0]);
  const [at, english] = [wanted.indexOf(language), wanted.indexOf('en')];
  if (at < 0 || (english >= 0 && english < at)) return;
  words = new Map(Object.entries(found));
  document.documentElement.lang = language;
  for (const root of [document.body, find('proof').content]) translate(root);
}

function translate(root) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { currentNode: node } = texts;
    const text = node.data.trim();
    if (text) node.data = node.data.replace(text, () => t(text));
  }
  for (const node of root.querySelectorAll('[alt]')) node.alt = t(node.alt);
}

find('place').textContent = location.host;
// The page works without these, and the login tells if the daemon is away.
await speak().catch(() => {});
nameSite().catch(() => {});
find('to-add-key').hidden = !window.PublicKeyCredential;
show('login');
