// The tables of the page: filter, sort, and a page of rows at a time, since there may be 10,000.
'use strict';
const ROWS_AT_ONCE = 200;

for (const { section, columns, rows, choose } of JSON.parse(document.getElementById('tables').textContent)) {
  if (!rows.length) continue;
  const texts = rows.map((row) => row.join('\n').toLowerCase());
  let sorted = -1;
  let ascending = true;
  let shown = ROWS_AT_ONCE;

  const make = (parent, tag, options = {}) => parent.appendChild(Object.assign(document.createElement(tag), options));
  const place = document.getElementById(section);
  const filters = make(place, 'div', { className: 'filters' });
  const search = make(filters, 'input', { type: 'search', placeholder: 'Filter', ariaLabel: `Filter ${section}` });
  const choice = make(filters, 'select', { ariaLabel: columns[choose] });
  choice.add(new Option(`every ${columns[choose]}`, ''));
  for (const value of [...new Set(rows.map((row) => row[choose]))].sort()) choice.add(new Option(value));
  const count = make(place, 'p', { className: 'faint', ariaLive: 'polite' });
  const table = make(place, 'table');
  const head = make(make(table, 'thead'), 'tr');
  const body = make(table, 'tbody');
  const more = make(place, 'button', { className: 'more', type: 'button', textContent: 'Show more' });

  const heads = columns.map((name, column) => {
    const cell = make(head, 'th', { scope: 'col' });
    make(cell, 'button', { type: 'button', textContent: name }).onclick = () => {
      ascending = sorted === column ? !ascending : true;
      sorted = column;
      show(ROWS_AT_ONCE);
    };
    return cell;
  });

  function show(most) {
    shown = most;
    const wanted = search.value.toLowerCase();
    let found = rows.filter((row, index) =>
      (!choice.value || row[choose] === choice.value) && texts[index].includes(wanted));
    if (sorted >= 0) {
      const compare = new Intl.Collator('en', { numeric: true }).compare;
      found = found.sort((a, b) => compare(a[sorted], b[sorted]) * (ascending ? 1 : -1));
    }
    heads.forEach((cell, column) => {
      cell.ariaSort = column === sorted ? (ascending ? 'ascending' : 'descending') : 'none';
    });
    body.replaceChildren();
    for (const row of found.slice(0, shown)) {
      const line = make(body, 'tr');
      row.forEach((value) => make(line, 'td', { textContent: value }));
    }
    const amount = Math.min(shown, found.length);
    count.textContent = amount < rows.length ? `${amount} of ${rows.length} are shown.` : '';
    more.hidden = amount === found.length;
  }

  search.oninput = choice.onchange = () => show(ROWS_AT_ONCE);
  more.onclick = () => show(shown + ROWS_AT_ONCE);
  show(ROWS_AT_ONCE);
}
