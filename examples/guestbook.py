"""A guestbook whose guests may leave a picture, with FastAPI.

::

    pip install dobbin_like fastapi python-multipart uvicorn
    uvicorn guestbook:app --workers 2

It is kept in ``guestbook.log``, or in the file that the environment has as ``GUESTBOOK``.
"""

import os
from html import escape
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse

from dobbin_like import Persistent, PersistentList, checkout
from dobbin_like.web.starlette import AsgiTransactions, StreamResponse, lifespan, root
from dobbin_like.web.uploads import stored_upload

PICTURES = {"image/gif", "image/jpeg", "image/png"}
FORM = """<form method="post" enctype="multipart/form-data">
<input name="name" placeholder="Your name"> <input name="text" placeholder="Your greetings">
<input name="picture" type="file"> <button>Sign</button></form>"""


class Entry(Persistent):
    def __init__(self, name: str, text: str, picture: UploadFile | None) -> None:
        self.name = name
        self.text = text
        self.picture = stored_upload(picture) if picture else None
        self.picture_type = picture.content_type if picture else ""


class Guestbook(Persistent):
    def __init__(self) -> None:
        self.entries: PersistentList[Entry] = PersistentList()


app = FastAPI(lifespan=lifespan(os.environ.get("GUESTBOOK", "guestbook.log"), root=Guestbook))
app.add_middleware(AsgiTransactions)
Book = Annotated[Guestbook, Depends(root)]


@app.get("/")
def show(book: Book) -> HTMLResponse:
    page = [FORM]
    for number, entry in enumerate(book.entries):
        page.append(f"<p>{escape(entry.name)}: {escape(entry.text)}</p>")
        if entry.picture is not None:
            page.append(f'<img src="/pictures/{number}">')
    return HTMLResponse("\n".join(page))


@app.post("/")
def sign(
    book: Book,
    name: Annotated[str, Form()],
    text: Annotated[str, Form()],
    picture: UploadFile | None = None,
) -> Response:
    if picture and not picture.filename:
        picture = None
    if picture and picture.content_type not in PICTURES:
        raise HTTPException(415)
    checkout(book.entries)
    book.entries.append(Entry(name, text, picture))
    return RedirectResponse("/", status_code=303)


@app.get("/pictures/{number}")
async def show_picture(book: Book, number: int) -> Response:
    if not 0 <= number < len(book.entries) or book.entries[number].picture is None:
        raise HTTPException(404)
    entry = book.entries[number]
    return StreamResponse(entry.picture, entry.picture_type)
